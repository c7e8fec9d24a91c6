//! Compressed objects with a bound on what comes out of them.

use std::io::{self, Read as _};

/// The usual level of zstd: a segment takes a tenth of a second and shrinks about tenfold.
const LEVEL: i32 = 3;

pub(crate) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::stream::encode_all(bytes, LEVEL)
}

/// # Errors
/// When it is not what [`pack`] made, or more than `most` bytes come out.
pub(crate) fn unpack(packed: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    zstd::stream::Decoder::with_buffer(packed)?.take(limit).read_to_end(&mut out)?;
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
}
