//! The block commands a host uses, one method each.
//!
//! A unit attention is news, not a failure: these methods take it and try again. Whoever wants to
//! see it uses [`Session::command`], which does not.

use std::collections::HashMap;
use std::sync::Arc;

use super::queue::LUN;
use super::{Answer, Data, Error, Session};

/// Unit attentions taken in a row before giving up.
const ATTENTIONS: usize = 8;

/// One command of [`Session::pipeline`].
#[derive(Clone, Debug)]
pub enum Io {
    /// READ (16).
    Read {
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u32,
    },
    /// WRITE (16).
    Write {
        /// First block.
        lba: u64,
        /// Whole blocks.
        data: Arc<[u8]>,
    },
    /// WRITE (16) with FUA: durable when it is answered.
    DurableWrite {
        /// First block.
        lba: u64,
        /// Whole blocks.
        data: Arc<[u8]>,
    },
}

/// What READ CAPACITY (16) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of logical blocks.
    pub blocks: u64,
    /// Bytes in one.
    pub block_size: usize,
}

impl Session {
    /// Runs one CDB on LUN 1, whatever comes of it.
    pub fn command(&mut self, cdb: &[u8], data: Data) -> Result<Answer, Error> {
        self.queue().run(LUN, cdb, data)
    }

    /// Runs one CDB on any LUN, whatever comes of it.
    pub fn command_on(&mut self, lun: u8, cdb: &[u8], data: Data) -> Result<Answer, Error> {
        self.queue().run([0, lun, 0, 0, 0, 0, 0, 0], cdb, data)
    }

    fn patient(&mut self, cdb: &[u8], data: &Data) -> Result<Vec<u8>, Error> {
        for _ in 0..ATTENTIONS {
            match self.command(cdb, data.clone())?.good() {
                Err(Error::CheckCondition { key: 6, .. }) => {}
                other => return other,
            }
        }
        Err(Error::protocol("unit attentions without end"))
    }

    /// TEST UNIT READY.
    pub fn test_unit_ready(&mut self) -> Result<(), Error> {
        self.patient(&[0; 6], &Data::None).map(drop)
    }

    /// INQUIRY, standard data.
    pub fn inquiry(&mut self) -> Result<Vec<u8>, Error> {
        self.patient(&[0x12, 0, 0, 0, 255, 0], &Data::In(255))
    }

    /// INQUIRY, one vital product data page.
    pub fn vital_product_data(&mut self, page: u8) -> Result<Vec<u8>, Error> {
        self.patient(&[0x12, 1, page, 0, 255, 0], &Data::In(255))
    }

    /// REPORT LUNS.
    pub fn report_luns(&mut self) -> Result<Vec<[u8; 8]>, Error> {
        let cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0];
        let data = self.patient(&cdb, &Data::In(4096))?;
        let entries = data.get(8..).unwrap_or_default().chunks_exact(8);
        Ok(entries.map(|entry| std::array::from_fn(|at| entry[at])).collect())
    }

    /// READ CAPACITY (16).
    pub fn read_capacity(&mut self) -> Result<Capacity, Error> {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        let data = self.patient(&cdb, &Data::In(32))?;
        let (Some(last), Some(size)) = (data.first_chunk::<8>(), data.get(8..12)) else {
            return Err(Error::protocol("short capacity data"));
        };
        let block_size = size.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        Ok(Capacity { blocks: u64::from_be_bytes(*last) + 1, block_size })
    }

    /// Bytes in one logical block, asked once.
    pub fn block_size(&mut self) -> Result<usize, Error> {
        if let Some(size) = self.block_size {
            return Ok(size);
        }
        let size = self.read_capacity()?.block_size;
        self.block_size = Some(size);
        Ok(size)
    }

    /// READ (16).
    pub fn read(&mut self, lba: u64, blocks: u32) -> Result<Vec<u8>, Error> {
        let len = blocks as usize * self.block_size()?;
        self.patient(&extent(0x88, lba, blocks), &Data::In(len))
    }

    /// WRITE (16).
    pub fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Error> {
        let blocks = data.len() / self.block_size()?;
        let blocks = u32::try_from(blocks).map_err(|_| Error::protocol("too much data"))?;
        self.patient(&extent(0x8a, lba, blocks), &Data::Out(Arc::from(data))).map(drop)
    }

    /// Submits a READ (16) of `blocks` blocks of `block_size` bytes to the queue.
    pub fn submit_read(&mut self, lba: u64, blocks: u32) -> Result<super::Tag, Error> {
        let len = blocks as usize * self.block_size()?;
        self.queue().submit(&extent(0x88, lba, blocks), Data::In(len))
    }

    /// Submits a WRITE (16) to the queue.
    pub fn submit_write(&mut self, lba: u64, data: &Arc<[u8]>) -> Result<super::Tag, Error> {
        self.submit_write_with(0, lba, data)
    }

    /// The same with these flags: byte 1 of the CDB.
    fn submit_write_with(
        &mut self,
        flags: u8,
        lba: u64,
        data: &Arc<[u8]>,
    ) -> Result<super::Tag, Error> {
        let blocks = u32::try_from(data.len() / self.block_size()?).unwrap_or(u32::MAX);
        let mut cdb = extent(0x8a, lba, blocks);
        cdb[1] = flags;
        self.queue().submit(&cdb, Data::Out(Arc::clone(data)))
    }

    /// Keeps up to `depth` commands in flight until `next` has no more and all have ended. Every end
    /// goes to `done` together with the command's place in the order of `next`. A command that fails
    /// is `done`'s business; only the loss of the session ends the run.
    pub fn pipeline(
        &mut self,
        depth: usize,
        mut next: impl FnMut() -> Option<Io>,
        mut done: impl FnMut(u64, &Answer),
    ) -> Result<(), Error> {
        let mut places = HashMap::new();
        let mut submitted = 0;
        let mut more = true;
        while more || !places.is_empty() {
            while more && places.len() < depth.max(1) {
                let tag = match next() {
                    Some(Io::Read { lba, blocks }) => self.submit_read(lba, blocks)?,
                    Some(Io::Write { lba, data }) => self.submit_write(lba, &data)?,
                    Some(Io::DurableWrite { lba, data }) => {
                        const FUA: u8 = 0x08;
                        self.submit_write_with(FUA, lba, &data)?
                    }
                    None => {
                        more = false;
                        break;
                    }
                };
                places.insert(tag, submitted);
                submitted += 1;
            }
            if !places.is_empty() {
                let (tag, answer) = self.queue().complete()?;
                if let Some(place) = places.remove(&tag) {
                    done(place, &answer);
                }
                self.queue().recycle(answer);
            }
        }
        Ok(())
    }

    /// SYNCHRONIZE CACHE (16) of everything.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.patient(&extent(0x91, 0, 0), &Data::None).map(drop)
    }

    /// UNMAP of one extent.
    pub fn unmap(&mut self, lba: u64, blocks: u32) -> Result<(), Error> {
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
        let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        self.patient(&cdb, &Data::Out(list.into())).map(drop)
    }

    /// The WP bit of MODE SENSE: may this session not write?
    pub fn is_write_protected(&mut self) -> Result<bool, Error> {
        let data = self.patient(&[0x1a, 0x08, 0x3f, 0, 255, 0], &Data::In(255))?;
        data.get(2).map(|byte| byte & 0x80 != 0).ok_or_else(|| Error::protocol("short mode data"))
    }
}

/// A 16-byte CDB with an LBA and a length.
pub(super) fn extent(opcode: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}
