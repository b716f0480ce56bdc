//! A body of any size, counted and summed as it comes: nothing of it is kept.
//!
//! `curl -T large.bin localhost:5000/upload`

use peregrine::prelude::*;

async fn upload(mut body: RequestBody) -> Result<String> {
    let (mut bytes, mut sum) = (0_u64, 0_u64);
    while let Some(chunk) = body.read().await? {
        bytes += chunk.len() as u64;
        sum = chunk.iter().fold(sum, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    }
    Ok(format!("{bytes} bytes, checksum {sum:016x}\n"))
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.put("/upload", upload).post("/upload", upload);
    app.limits_for("/upload", |limits| limits.max_request_body_size = None);
    app.run()
}
