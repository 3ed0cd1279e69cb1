//! Words to the service manager, for units of `Type=notify`.
//!
//! Without `NOTIFY_SOCKET` in the environment, each of these does nothing.

use sd_notify::NotifyState;

/// The mount answers; whoever waits for the unit may go on.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What the program is doing, in one line for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The program is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
