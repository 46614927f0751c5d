//! `bindgen IN.wasm OUT_DIR`: writes the JavaScript half of the worker, in the form that wrangler's bundler takes.
use std::{env, error::Error, fs, path::Path};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().collect();
    let [_, input, out_dir] = args.as_slice() else { return Err("usage: bindgen IN.wasm OUT_DIR".into()) };
    Bindgen::new()
        .input_path(input)
        .out_name("index")
        .module(true)?
        .typescript(false)
        // Names of functions are a tenth of the upload and only decorate stack traces.
        .remove_name_section(true)
        .remove_producers_section(true)
        // After a trap (not a panic) the module starts afresh, and the entry learns of it.
        .reset_state_function(true)
        .force_enable_abort_handler(true)
        .generate(out_dir)?;
    // The bundler knows `import x from "./y.wasm"`, not yet source-phase imports.
    let index = Path::new(out_dir).join("index.js");
    let text = fs::read_to_string(&index)?.replace("import source ", "import ");
    fs::write(index, text)?;
    Ok(())
}
