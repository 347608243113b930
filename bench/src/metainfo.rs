//! BitTorrent v1 metainfo (BEP 3), so that the swarm tools can be measured without one of them installed just to make it.

use std::{fs::File, io::Read, path::Path};

use sha1::{Digest, Sha1};

use crate::{
    content::Content,
    error::{Context, Result},
    interrupt,
};

/// A bencoded value; dictionaries are given with their keys in order.
enum Value {
    Int(u64),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Dict(Vec<(&'static str, Value)>),
}

impl Value {
    fn text(text: impl AsRef<str>) -> Self {
        Self::Bytes(text.as_ref().as_bytes().to_vec())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let string = |bytes: &[u8], out: &mut Vec<u8>| {
            out.extend(format!("{}:", bytes.len()).as_bytes());
            out.extend(bytes);
        };
        match self {
            Self::Int(n) => out.extend(format!("i{n}e").as_bytes()),
            Self::Bytes(bytes) => string(bytes, out),
            Self::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.encode(out));
                out.push(b'e');
            }
            Self::Dict(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    string(key.as_bytes(), out);
                    value.encode(out);
                }
                out.push(b'e');
            }
        }
    }
}

/// The metainfo of `content` in pieces of `piece` bytes, announced at `tracker`.
pub(crate) fn encode(content: &Content, tracker: &str, piece: usize) -> Result<Vec<u8>> {
    let mut info = vec![
        ("name", Value::text(&content.name)),
        ("piece length", Value::Int(piece as u64)),
        ("pieces", Value::Bytes(pieces(content, piece)?)),
    ];
    if content.is_tree {
        let files = content.files.iter().map(|(path, size)| {
            let parts = path
                .iter()
                .map(|part| Value::text(part.to_string_lossy()))
                .collect();
            Value::Dict(vec![
                ("length", Value::Int(*size)),
                ("path", Value::List(parts)),
            ])
        });
        info.insert(0, ("files", Value::List(files.collect())));
    } else {
        info.insert(0, ("length", Value::Int(content.bytes)));
    }
    let mut out = Vec::new();
    Value::Dict(vec![
        ("announce", Value::text(tracker)),
        ("info", Value::Dict(info)),
    ])
    .encode(&mut out);
    Ok(out)
}

/// SHA-1 of every piece of the files' concatenation.
fn pieces(content: &Content, piece: usize) -> Result<Vec<u8>> {
    let (mut hashes, mut buffer, mut have) = (Vec::new(), vec![0; piece], 0);
    for (file, _) in &content.files {
        let path = content.source(file);
        let mut input = File::open(&path).on("reading", &path)?;
        loop {
            interrupt::check()?;
            let n = input
                .read(&mut buffer[have..])
                .on("reading", Path::new(&path))?;
            if n == 0 {
                break;
            }
            have += n;
            if have == piece {
                hashes.extend(Sha1::digest(&buffer));
                have = 0;
            }
        }
    }
    if have > 0 {
        hashes.extend(Sha1::digest(&buffer[..have]));
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_hashed_across_its_file_borders() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::tree(dir.path(), 3, 10).unwrap();
        let whole: Vec<u8> = content
            .files
            .iter()
            .flat_map(|(file, _)| std::fs::read(content.source(file)).unwrap())
            .collect();
        let want: Vec<u8> = whole
            .chunks(16)
            .flat_map(|part| Sha1::digest(part).to_vec())
            .collect();
        assert_eq!(pieces(&content, 16).unwrap(), want);

        let encoded = encode(&content, "http://x", 16).unwrap();
        let text = String::from_utf8_lossy(&encoded);
        assert!(text.starts_with(
            "d8:announce8:http://x4:infod5:filesld6:lengthi10e4:pathl4:d00010:f00000.bineed"
        ));
        assert!(text.contains("4:name9:tree-3x1012:piece lengthi16e6:pieces40:"));
    }
}
