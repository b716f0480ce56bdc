//! A form with files, read part by part as it arrives.
//!
//! `curl -F note=hello -F file=@large.bin localhost:5000/`, or a browser at `/`.

use peregrine::Multipart;
use peregrine::prelude::*;

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Upload</title>
<form method=post enctype=multipart/form-data><input name=note><input type=file name=file><button>Send</button></form>";

async fn receive(mut form: Multipart) -> Result<String> {
    let mut told = String::new();
    while let Some(mut part) = form.next().await? {
        let name = part.name().unwrap_or("?").to_owned();
        let file = part.file_name().map(str::to_owned);
        let mut bytes = 0;
        while let Some(chunk) = part.chunk().await? {
            bytes += chunk.len();
        }
        told += &match file {
            Some(file) => format!("{name}: the file {file:?}, {bytes} bytes\n"),
            None => format!("{name}: {bytes} bytes\n"),
        };
    }
    Ok(told)
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.get("/", || Html(PAGE)).post("/", receive);
    app.limits_for("/", |limits| limits.max_request_body_size = Some(1 << 30));
    app.run()
}
