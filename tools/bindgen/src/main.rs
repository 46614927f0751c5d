//! `bindgen IN.wasm OUT_DIR`: writes the JavaScript half of the worker, in the form that wrangler's bundler takes.
//! `bindgen --order FILE.wasm`: the last step, after all that changes code.
mod copies;
mod frames;
mod locals;
mod names;
mod order;
mod shim;
mod sums;
mod webs;
mod weight;

use std::{env, error::Error, fs, iter, path::Path, thread};

use walrus::{
    Module, RawCustomSection,
    ir::{Try, Visitor, dfs_in_order},
};
use wasm_bindgen_cli_support::Bindgen;

/// Classes that libraries export to JavaScript and nobody here makes: exported, they and all they call would be uploaded.
const UNUSED: [&str; 6] = [
    "ContainerStartupOptions",
    "IntoUnderlyingByteSource",
    "IntoUnderlyingSink",
    "IntoUnderlyingSource",
    "MinifyConfig",
    "R2Range",
];

/// Where wasm-bindgen's macros leave what they say of each item.
const SECTION: &str = "__wasm_bindgen_unstable";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().collect();
    match args.as_slice() {
        [_, order, file] if order == "--order" => Ok(fs::write(file, compact(&fs::read(file)?)?)?),
        [_, input, out_dir] => bind(input, out_dir),
        _ => Err("usage: bindgen IN.wasm OUT_DIR, or bindgen --order FILE.wasm".into()),
    }
}

/// The same module in the form that weighs least when it is compressed.
fn compact(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let numbered = locals::numbered(&sums::repeated(&frames::rounded(&copies::called(wasm)?)?)?)?;
    let once = lightest(&numbered, 1)?;
    // Numbers that were chosen for one order tell better which functions are alike: half a percent of the upload.
    let twice = lightest(&once.1, 2)?;
    Ok(if twice.0 < once.0 { twice.1 } else { once.1 })
}

/// The module in the best of some orders, with numbers that are gone through so many times, and what its code weighs.
fn lightest(wasm: &[u8], times: usize) -> Result<(u64, Vec<u8>), Box<dyn Error>> {
    let tried = |liking| {
        order::ordered(wasm, liking)
            .and_then(|ordered| locals::fitted(&ordered, times))
            .map_err(|error| error.to_string())
    };
    let all = thread::scope(|scope| {
        let tries = order::LIKINGS.map(|liking| scope.spawn(move || tried(liking)));
        tries.into_iter().map(|one| one.join().map_err(|_| "no order")?).collect::<Result<Vec<_>, String>>()
    })?;
    // The first of equals, so that the module is the same each time.
    Ok(all.into_iter().min_by_key(|&(weight, _)| weight).ok_or("nothing was tried")?)
}

fn bind(input: &str, out_dir: &str) -> Result<(), Box<dyn Error>> {
    let mut module = Module::from_file(input)?;
    if !catches(&module) {
        return Err("nothing catches a panic: it would cost more than its request".into());
    }
    prune(&mut module)?;
    let mut output = Bindgen::new()
        .input_bytes("index", module.emit_wasm())
        .out_name("index")
        .module(true)?
        .typescript(false)
        // Names of functions are a tenth of the upload and only decorate stack traces.
        .remove_name_section(true)
        .remove_producers_section(true)
        // After a trap (not a panic) the module starts afresh, and the entry learns of it.
        .reset_state_function(true)
        .force_enable_abort_handler(true)
        .generate_output()?;
    let short = names::shorten(output.wasm_mut());
    output.emit(out_dir)?;
    // The bundler knows `import x from "./y.wasm"`, not yet source-phase imports.
    let index = Path::new(out_dir).join("index.js");
    let text = fs::read_to_string(&index)?.replace("import source ", "import ");
    fs::write(index, shim::direct(&names::renamed(&text, &short))?)?;
    Ok(())
}

/// Whether the one function that catches panics still does.
fn catches(module: &Module) -> bool {
    struct Tries(u32);
    impl Visitor<'_> for Tries {
        fn visit_try(&mut self, _: &Try) {
            self.0 += 1;
        }
    }
    let mut tries = Tries(0);
    for (id, function) in module.funcs.iter_local() {
        if module.funcs.get(id).name.as_deref().is_some_and(|name| name.starts_with("__rust_try")) {
            dfs_in_order(&mut tries, function, function.entry_block());
        }
    }
    tries.0 > 0
}

/// Takes the unused classes out before the exports are wired: their functions, and what the macros said of them.
fn prune(module: &mut Module) -> Result<(), Box<dyn Error>> {
    let lower = UNUSED.map(str::to_lowercase);
    let of_class = |name: &str| lower.iter().any(|class| name.contains(class.as_str()));
    let gone: Vec<_> =
        module.exports.iter().filter(|export| of_class(&export.name)).map(|export| export.id()).collect();
    for export in gone {
        module.exports.delete(export);
    }
    // All are taken out before the first is put back: they have one name.
    let sections: Vec<_> = iter::from_fn(|| module.customs.remove_raw(SECTION)).collect();
    for section in sections {
        let data = kept(&section.data).ok_or("the section of wasm-bindgen is cut")?;
        module.customs.add(RawCustomSection { data, ..section });
    }
    Ok(())
}

/// What a section says of items that are not of an unused class. Each item is a pair of texts, the version of the format and
/// the item itself, both with their length before them: four bytes, little-endian.
fn kept(mut section: &[u8]) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(section.len());
    while !section.is_empty() {
        let (version, rest) = text(section)?;
        let (item, rest) = text(rest)?;
        let about = |class: &str| item.windows(class.len()).any(|window| window == class.as_bytes());
        if !UNUSED.iter().any(|class| about(class)) {
            kept.extend_from_slice(version);
            kept.extend_from_slice(item);
        }
        section = rest;
    }
    Some(kept)
}

/// The first text of a section, its length included, and what follows.
fn text(section: &[u8]) -> Option<(&[u8], &[u8])> {
    let length: [u8; 4] = section.get(..4)?.try_into().ok()?;
    section.split_at_checked(4 + u32::from_le_bytes(length) as usize)
}
