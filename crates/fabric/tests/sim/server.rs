//! The sidecars: a real session for each lane, real serving, and packets instead of sockets.

use std::time::Duration;

use fabric::serve::Miss;
use fabric::server::{Effect, Output, PIECE, Torn, serve};
use fabric::wire::{Answer, Frame, Item, Next, Status, encode, encode_answer};

use crate::shelf::View;
use crate::world::{Event, Packet, World};

/// What an exchange sends, collected.
struct Wire<'w> {
    id: u64,
    buffer: &'w mut [u8],
    /// Stands for mapped memory of the client, until the next call.
    mapped: Option<(u64, Vec<u8>)>,
    maps: bool,
    inline_up_to: u64,
    packets: Vec<Packet>,
}

impl Wire<'_> {
    fn flush(&mut self) {
        if let Some((offset, bytes)) = self.mapped.take() {
            self.packets.push(Packet::Write { offset, bytes });
        }
    }
}

impl Output for Wire<'_> {
    type Broken = ();

    fn buffer(&mut self) -> Result<&mut [u8], ()> {
        self.flush();
        Ok(self.buffer)
    }

    fn mapped(&mut self, _region: u16, offset: u64, len: usize) -> Option<*mut u8> {
        self.flush();
        self.maps.then(|| {
            let (_, bytes) = self.mapped.insert((offset, vec![0; len]));
            bytes.as_mut_ptr()
        })
    }

    fn place(&mut self, _region: u16, offset: u64, len: usize) -> Result<(), ()> {
        self.flush();
        let bytes = self.buffer[..len].to_vec();
        self.packets.push(Packet::Write { offset, bytes });
        Ok(())
    }

    fn answer(&mut self, answer: &Answer, len: usize) -> Result<(), ()> {
        self.flush();
        let mut bytes = Vec::new();
        encode_answer(self.id, answer, &mut bytes).unwrap();
        bytes.extend(&self.buffer[..len]);
        self.packets.push(Packet::Bytes(bytes));
        Ok(())
    }

    fn more(&mut self, len: usize) -> Result<(), ()> {
        self.packets
            .push(Packet::Bytes(self.buffer[..len].to_vec()));
        Ok(())
    }

    fn inline_up_to(&self) -> u64 {
        self.inline_up_to
    }
}

impl World {
    /// Bytes have arrived at the server's end of a lane.
    pub(crate) fn server_receives(&mut self, lane: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if !self.lanes[lane].is_served {
                return;
            }
            let reader = &mut self.lanes[lane].server_reader;
            let space = reader.space();
            let len = space.len().min(bytes.len());
            space[..len].copy_from_slice(&bytes[..len]);
            reader.filled(len);
            bytes = &bytes[len..];
            self.server_reads(lane);
        }
    }

    fn server_reads(&mut self, lane: usize) {
        while self.lanes[lane].is_served {
            let l = &mut self.lanes[lane];
            let effect = match l.server_reader.next() {
                Ok(Next::NeedMore) => return,
                Ok(Next::Frame(frame)) => l.session.take(frame),
                Ok(Next::Data(_)) => match self.server_takes_data(lane) {
                    true => continue,
                    false => return,
                },
                Err(error) => l.session.nonsense(&error),
            };
            self.server_does(lane, effect);
        }
    }

    fn server_does(&mut self, lane: usize, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Send(frame) => self.server_sends(lane, &frame),
            Effect::Admit => {
                let effect = self.lanes[lane].session.admit();
                self.server_does(lane, effect);
            }
            Effect::Serve { id, items } => {
                let slow = match self.random.below(20) {
                    0 | 1 if !self.is_calm() => 200_000,
                    _ => 400,
                };
                let wait = Duration::from_micros(20 + self.random.below(slow));
                self.after(wait, Event::Serve { lane, id, items });
            }
            Effect::Store { id, write } => self.server_begins_write(lane, id, write),
            Effect::Lend { .. } => panic!("no client of this world borrows files"),
            Effect::Close(frame, _) => {
                if let Some(frame) = frame {
                    self.server_sends(lane, &frame);
                }
                self.server_closes(lane);
            }
        }
    }

    /// A worker gets to the read.
    pub(crate) fn server_serves(&mut self, lane: usize, id: u64, items: &[Item]) {
        if !self.lanes[lane].is_served {
            return;
        }
        let server = &self.servers[self.lanes[lane].server];
        let is_calm = self.is_calm();
        let view = View {
            now: self
                .truth
                .needles
                .iter()
                .map(|history| history.last().unwrap().content.clone())
                .collect(),
            damaged: server.damaged.clone(),
            lost: server.lost.clone(),
            miss: match (is_calm, self.random.below(60)) {
                (true, _) => None,
                (_, 0) => Some(Miss::NotHere),
                (_, 1) => Some(Miss::Declined),
                (_, 2) => Some(Miss::Loading),
                (_, 3) => Some(Miss::Failed),
                (_, 4) => Some(Miss::Corrupt),
                _ => None,
            },
            is_broken: !is_calm && self.random.below(60) == 0,
        };
        let is_busy = !is_calm && self.random.below(40) == 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(PIECE, 0);
        let mut wire = Wire {
            id,
            buffer: &mut buffer,
            mapped: None,
            maps: server.maps,
            inline_up_to: server.inline_up_to,
            packets: Vec::new(),
        };
        let session = &mut self.lanes[lane].session;
        let result = match is_busy {
            true => {
                session.finished(id);
                let busy = Answer {
                    item: 0,
                    status: Status::Busy,
                    is_inline: false,
                    is_gzip: false,
                    len: 0,
                    stored: 0,
                    crc: 0,
                };
                wire.answer(&busy, 0).map_err(Torn::Lane)
            }
            false => serve(&view, items, &mut wire, || session.finished(id), |_| {}),
        };
        let packets = wire.packets;
        self.buffer = buffer;
        for packet in packets {
            self.send_down(lane, packet);
        }
        if result.is_err() {
            self.server_closes(lane);
        }
    }

    /// The server lets go of the lane: behind all it has sent, the client is told.
    pub(crate) fn server_closes(&mut self, lane: usize) {
        if std::mem::replace(&mut self.lanes[lane].is_served, false) {
            self.send_down(lane, Packet::Retired);
        }
    }

    pub(crate) fn server_sends(&mut self, lane: usize, frame: &Frame) {
        let mut bytes = Vec::new();
        encode(frame.id, &frame.message, &mut bytes).unwrap();
        self.send_down(lane, Packet::Bytes(bytes));
    }
}
