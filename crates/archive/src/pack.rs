//! Compressed objects with a bound on what comes out of them, and on what it takes to look.

use std::io::{self, Read as _};

/// The usual level of zstd: a segment takes a tenth of a second and shrinks about tenfold.
const LEVEL: i32 = 3;
/// Of the window that [`pack`] needs, as a power of two, with room for another level: 8 MiB. A frame may ask for 128.
const WINDOW: u32 = 23;

pub(crate) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::stream::encode_all(bytes, LEVEL)
}

/// # Errors
/// When it is not what [`pack`] made, or more than `most` bytes come out.
pub(crate) fn unpack(packed: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    let mut decoder = zstd::stream::Decoder::with_buffer(packed)?;
    decoder.window_log_max(WINDOW)?;
    decoder.take(limit).read_to_end(&mut out)?;
    if out.len() > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {most} bytes come out of it")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_does_not_grow() {
        let packed = pack(&vec![0; 1 << 20]).unwrap();
        assert!(packed.len() < 1 << 10);
        assert_eq!(unpack(&packed, 1 << 20).unwrap().len(), 1 << 20);
        assert!(unpack(&packed, (1 << 20) - 1).is_err());
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut], 1 << 20).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_frame_takes_no_more_memory_than_ours_do() {
        use std::io::Write as _;
        let windowed = |log: u32| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"few bytes").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(unpack(&windowed(WINDOW), 100).unwrap(), b"few bytes");
        assert!(unpack(&windowed(27), 100).is_err());
        // Ours, however long they are.
        let long: Vec<u8> = (0..20_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        assert!(unpack(&pack(&long).unwrap(), long.len()).is_ok());
    }
}
