//! The word that the daemon ends, for everybody who runs until then.

use tokio::sync::watch;

/// Waits for it. Clones hear the same word.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<bool>);

/// Says it.
#[derive(Debug)]
pub struct Ender(watch::Sender<bool>);

/// Both ends.
pub fn ending() -> (Ender, Ending) {
    let (sender, receiver) = watch::channel(false);
    (Ender(sender), Ending(receiver))
}

impl Ending {
    /// Returns once the daemon ends, at once if it does already.
    pub async fn wait(&mut self) {
        // An error means that whoever would say it is gone, which says it as well.
        let _ = self.0.wait_for(|ends| *ends).await;
    }
}

impl Ender {
    /// The daemon ends now.
    pub fn end(&self) {
        self.0.send_replace(true);
    }
}
