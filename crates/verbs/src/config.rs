//! What a connection is sized for.

use crate::Error;

/// Sizes and time-outs of one connection. Both ends choose their own; a message must fit into the
/// slots of the end that receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Sends and writes that may be under way.
    pub send_depth: u32,
    /// Messages, and writes with immediate data, that the peer may have sent before they are polled.
    pub recv_depth: u32,
    /// Longest message, in bytes.
    pub message_size: u32,
    /// Messages up to this length travel inside the work request, which saves the device a read
    /// of memory. A device that cannot do that much gets less, see [`crate::Connection::inline_size`].
    pub inline_size: u32,
    /// After `4.096 us * 2^ack_timeout` without an acknowledgement a packet is sent again; devices
    /// may take up to four times that (IBA 9.7.6.1.3).
    pub ack_timeout: u8,
    /// How often it is sent again before the peer counts as dead, and a message to a peer without a
    /// free slot, each 82 ms apart; at most [`Self::MAX_RETRIES`].
    pub retry_count: u8,
}

impl Default for Config {
    /// For requests of a few hundred bytes: a dead peer is reported within about half a second to
    /// two seconds, and a connection takes 64 KiB.
    fn default() -> Self {
        Self {
            send_depth: 32,
            recv_depth: 32,
            message_size: 1024,
            inline_size: 128,
            ack_timeout: 14,
            retry_count: Self::MAX_RETRIES,
        }
    }
}

impl Config {
    /// 7, the greatest value of the field and the usual default, means *for ever* to soft-RoCE:
    /// a dead peer would never be reported.
    pub const MAX_RETRIES: u8 = 6;
    /// Devices allow some ten thousand; more than this many requests at once is a mistake.
    pub const MAX_DEPTH: u32 = 4096;
    /// Longer data goes by [`crate::Write`].
    pub const MAX_MESSAGE: u32 = 64 << 10;
    /// Longest time-out: 21 is 8.6 s for each try.
    pub const MAX_ACK_TIMEOUT: u8 = 21;
    /// Shortest time-out: below 8 (1 ms) a busy peer is taken for a dead one.
    pub const MIN_ACK_TIMEOUT: u8 = 8;
    /// Slots of one connection, both ways together: 64 MiB.
    pub const MAX_SLOT_BYTES: u64 = 64 << 20;

    /// # Errors
    /// [`Error::Config`] naming the field that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let within = |name, value: u32, low: u32, high: u32| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::Config {
                what: format!("{name} is {value}, expected {low} to {high}"),
            })
        };
        within("send_depth", self.send_depth, 1, Self::MAX_DEPTH)?;
        within("recv_depth", self.recv_depth, 1, Self::MAX_DEPTH)?;
        within("message_size", self.message_size, 1, Self::MAX_MESSAGE)?;
        within("inline_size", self.inline_size, 0, 1024)?;
        let (low, high) = (Self::MIN_ACK_TIMEOUT, Self::MAX_ACK_TIMEOUT);
        within(
            "ack_timeout",
            self.ack_timeout.into(),
            low.into(),
            high.into(),
        )?;
        within(
            "retry_count",
            self.retry_count.into(),
            0,
            Self::MAX_RETRIES.into(),
        )?;
        let slots = u64::from(self.send_depth) + u64::from(self.recv_depth);
        let bytes = slots * u64::from(self.message_size);
        if bytes > Self::MAX_SLOT_BYTES {
            return Err(Error::Config {
                what: format!(
                    "slots would take {bytes} bytes, more than {}",
                    Self::MAX_SLOT_BYTES
                ),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_accepted() {
        Config::default().check().unwrap();
    }

    #[test]
    fn a_field_out_of_range_is_named() {
        let forever = Config {
            retry_count: 7,
            ..Config::default()
        };
        let error = forever.check().unwrap_err().to_string();
        assert!(
            error.contains("retry_count is 7, expected 0 to 6"),
            "{error}"
        );
        let huge = Config {
            send_depth: 4096,
            recv_depth: 4096,
            message_size: 64 << 10,
            ..Config::default()
        };
        assert!(huge.check().unwrap_err().to_string().contains("more than"));
        let none = Config {
            send_depth: 0,
            ..Config::default()
        };
        assert!(none.check().unwrap_err().to_string().contains("send_depth"));
    }
}
