//! A few rounds of what `bench-disorder` does a hundred times, on one machine: no lines to cut.
//! Nothing is lost, every page arrives, and what clients saw fits one order.

use anyhow::Result;
use parallax_tests::disorder;

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_that_dies_or_stands_still_loses_no_write_and_no_page() -> Result<()> {
    let told = disorder::tell(parallax_tests::binaries!(), 8, 7, None).await?;
    assert!(told.kills > 0 && told.pauses > 0, "{told:?}");
    assert_eq!(told.pages, 2 * told.outages, "{told:?}");
    // Checked by the story itself, key by key.
    assert!(told.history.operations > 200 && told.history.unequal > 0, "{told:?}");
    Ok(())
}
