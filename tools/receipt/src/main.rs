//! `verify-receipt RECEIPT.json KEYS.json [BODY.json]`: a line per check. The exit code is 0 when all hold, 1 when one does not,
//! 2 when there was nothing to check.
use std::{fs, process::ExitCode};

mod check;
use check::{Keys, Receipt, charge, request, signature};

const USAGE: &str = "\
usage: verify-receipt RECEIPT.json KEYS.json [BODY.json]
  RECEIPT.json  the answer of GET /v1/receipts/{request_id}
  KEYS.json     the answer of GET /.well-known/megarouter-keys.json
  BODY.json     the request's body, byte for byte as it was sent";

/// The longest line that is printed: what is quoted comes from files of others.
const WIDTH: usize = 300;

fn main() -> ExitCode {
    let paths: Vec<String> = std::env::args_os().skip(1).map(|path| path.to_string_lossy().into_owned()).collect();
    let done = match paths.as_slice() {
        [receipt, keys] => verify(receipt, keys, None),
        [receipt, keys, body] => verify(receipt, keys, Some(body)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Whether all checks hold.
fn verify(receipt: &str, keys: &str, body: Option<&str>) -> Result<bool, String> {
    let named = |path: &str, why: String| plain(&format!("{path}: {why}"));
    let receipt_file = read(receipt)?;
    let keys_file = read(keys)?;
    let body_file = body.map(read).transpose()?;
    let receipt = Receipt::read(&receipt_file).map_err(|why| named(receipt, why))?;
    let keys = Keys::read(&keys_file).map_err(|why| named(keys, why))?;

    let key = keys.find(&receipt.key_id);
    let signed = match &key {
        Ok(key) => signature(&receipt, key),
        Err(_) => Err("not checked, for want of the key".into()),
    };
    let mut all = tell("key", &key.map(|_| format!("{} is among the keys", receipt.key_id)));
    all &= tell("signature", &signed);
    all &= tell("charge", &charge(&receipt));
    match body_file {
        Some(body) => all &= tell("request", &request(&receipt, &body)),
        None => println!("request: not checked, no body was given"),
    }
    Ok(all)
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| plain(&format!("{path}: cannot be read: {error}")))
}

fn tell(what: &str, found: &Result<String, String>) -> bool {
    let (word, text) = match found {
        Ok(text) => ("ok", text),
        Err(text) => ("WRONG", text),
    };
    println!("{}", plain(&format!("{what}: {word}, {text}")));
    found.is_ok()
}

/// One line without control characters: a forged receipt must not be able to write lines of its own, or over ours.
fn plain(text: &str) -> String {
    text.chars().take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
