//! (f) A coordinator that is killed again and again keeps every write it acknowledged.

use anyhow::Result;
use parallax_tests::kill_nine;

const ROUNDS: u32 = 30;
const SEED: u64 = 0x9a7a_11a8_0000_0002;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_thirty_kills() -> Result<()> {
    let told = kill_nine::tell(parallax_tests::binaries!(), ROUNDS, SEED).await?;
    assert_eq!(told.kills, ROUNDS);
    assert!(told.early * 3 >= ROUNDS, "{told:?}");
    Ok(())
}
