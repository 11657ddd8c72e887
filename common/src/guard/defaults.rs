//! What is denied unless a process's configuration allows that very network, or a part of it.
//!
//! Two kinds: addresses that answer with the machine's own credentials to whoever can connect from
//! it, and those that no check and no contact can mean. Loopback and private networks are not among
//! them: people look at what is inside, and are told there. `docs/safety.md` has the same list for people; a test compares.
//!
//! Metadata addresses stand here one by one although some lie in link-local networks: who allows
//! the network for something else on the same link does not allow them with it.

use super::network::Network;

const LINK_LOCAL: &str = "link-local";
const METADATA: &str = "cloud metadata";
const UNSPECIFIED: &str = "unspecified";
const MULTICAST: &str = "multicast";

/// Network and reason.
pub const DENIED: &[(Network, &str)] = &[
    // RFC 1122, 3.2.1.3: no destination. Linux connects to itself.
    (Network::v4([0, 0, 0, 0], 8), UNSPECIFIED),
    (Network::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), UNSPECIFIED),
    // RFC 3927 and RFC 4291: one link only, and where clouds put services for their machines.
    (Network::v4([169, 254, 0, 0], 16), LINK_LOCAL),
    (Network::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), LINK_LOCAL),
    // RFC 5771 and RFC 4291: many would get it, and nobody could be told from them.
    (Network::v4([224, 0, 0, 0], 4), MULTICAST),
    (Network::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), MULTICAST),
    // RFC 919: the same for a link.
    (Network::v4([255, 255, 255, 255], 32), "broadcast"),
    // AWS, Google, Azure, Oracle, OpenStack, DigitalOcean, Hetzner and most others.
    (Network::v4([169, 254, 169, 254], 32), METADATA),
    // AWS: credentials of ECS tasks, then of EKS pods.
    (Network::v4([169, 254, 170, 2], 32), METADATA),
    (Network::v4([169, 254, 170, 23], 32), METADATA),
    // Scaleway, Tencent.
    (Network::v4([169, 254, 42, 42], 32), METADATA),
    (Network::v4([169, 254, 0, 23], 32), METADATA),
    // Alibaba, Volcengine: in the shared address space of carriers.
    (Network::v4([100, 100, 100, 200], 32), METADATA),
    (Network::v4([100, 96, 0, 96], 32), METADATA),
    // Azure's host agent, in public space, from which every machine reaches its own.
    (Network::v4([168, 63, 129, 16], 32), METADATA),
    // Oracle Cloud Classic.
    (Network::v4([192, 0, 0, 192], 32), METADATA),
    // OpenStack, Linode.
    (Network::v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), METADATA),
    (Network::v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1], 128), METADATA),
    // AWS: its services for machines, then metadata and credentials of EKS pods.
    (Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), "services of AWS for its machines"),
    (Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128), METADATA),
    // Google, Oracle, Scaleway, Alibaba.
    (Network::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (Network::v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), METADATA),
    (Network::v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), METADATA),
    (Network::v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128), METADATA),
];
