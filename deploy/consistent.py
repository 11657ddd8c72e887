"""What no schema says of compose.yaml: that its parts fit one another and the Containerfile."""

import re
import sys
from pathlib import Path

from ruamel.yaml import YAML

here = Path(__file__).parent
compose = YAML(typ="safe").load((here / "compose.yaml").read_text())
mesh = YAML(typ="safe").load((here / "mesh.yaml").read_text())
containers = (here / "Containerfile").read_text()


def wrongs(services):
    """A sentence for each thing that does not fit."""
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", containers, re.M))
    made = set(re.findall(r"(/tls/[a-z0-9-]+|/authority)\b", containers))
    once = services["certificates"]
    mounts = {name: [volume.split(":") for volume in it.get("volumes", [])] for name, it in services.items()}
    issued = {who.split(":")[1]: who.split(":") for who in once["command"] if ":" in who}
    for name, it in services.items():
        if it["build"]["target"] not in stages:
            yield f"{name}: the Containerfile has no stage {it['build']['target']}"
        if not it.get("read_only") or it.get("cap_drop") != ["ALL"]:
            yield f"{name}: may do more than it needs"
        for published in it.get("ports", []):
            if published != "127.0.0.1:7100:7100":
                yield f"{name}: publishes {published}"
        for volume in mounts[name]:
            if volume[0] not in compose["volumes"]:
                yield f"{name}: there is no volume {volume[0]}"
            if name != "certificates" and volume[0] == "authority":
                yield f"{name}: sees the authority's key"
    # Each process has one certificate, its own, and may not write it.
    for name in set(services) - {"certificates"}:
        who = "anna" if name == "parallax" else name
        if [volume for volume in mounts[name] if volume[0].startswith("tls-")] != [
            [f"tls-{who}", "/etc/parallax/tls", "ro"]
        ]:
            yield f"{name}: should see the certificate of {who}, only that, and only read it"
        if who not in issued or [f"tls-{who}", f"/tls/{who}"] not in mounts["certificates"]:
            yield f"certificates: issues none to {who}"
    for _, at in mounts["certificates"]:
        if at not in made:
            yield f"certificates: the image has no directory {at}"
    members = [name for name, it in services.items() if it["build"]["target"] == "coordinator"]
    for name in members:
        env = services[name]["environment"]
        if env["PARALLAX_NAME"] != name or env["PARALLAX_MESH"] != once["command"][0]:
            yield f"{name}: its certificate has another name"
        if env["PARALLAX_INITIAL_MEMBERS"] != ",".join(f"{it}={it}:7102" for it in members):
            yield f"{name}: the initial members are others"
    for name, it in services.items():
        if it["build"]["target"] == "probe":
            if it["environment"]["PARALLAX_COORDINATORS"] != ",".join(f"{it}:7101" for it in members):
                yield f"{name}: dials others than the coordinators"
    regions = {who[2] for who in issued.values() if who[0] == "probe"}
    if regions != {region["name"] for region in mesh["regions"]}:
        yield f"mesh.yaml: the probes are in {sorted(regions)}"


# Shown a mistake first: a checker that sees none is no checker.
planted = dict(compose["services"], us1=dict(compose["services"]["us-1"], ports=["7101:7101"]))
if len(list(wrongs(planted))) < 3:
    sys.exit("consistent.py does not see a planted mistake")
found = list(wrongs(compose["services"]))
sys.exit("\n".join(found) if found else 0)
