//! The help, made from the table.
use crate::{
    arg::{Arg, Kind},
    table::{COMMANDS, Command, GLOBALS},
};

const ABOUT: &str = "\
megarouter: the command line of a MegaRouter deployment

Where and who: MEGAROUTER_URL, MEGAROUTER_ADMIN_KEY and MEGAROUTER_OPERATOR_TOKEN (and MEGAROUTER_KEY, an inference key, for doctor),
or --state DIR, or .state/run.json as `make run` writes it.
";

/// Help for the commands that begin with these words, or for all.
pub fn help(words: &[String]) -> String {
    let begins = |command: &&Command| words.iter().zip(command.words.split(' ')).all(|(given, word)| given == word);
    let found: Vec<&Command> = COMMANDS.iter().filter(begins).collect();
    let mut text = String::new();
    match found.as_slice() {
        [] => return "There is no such command. `megarouter help` lists all.\n".to_owned(),
        found if words.is_empty() => {
            text.push_str(ABOUT);
            text.push('\n');
            for command in found {
                text.push_str(&format!("  {:18} {}\n", command.words, command.help));
            }
            text.push_str("\nFlags of every command:\n");
            text.push_str(&args(GLOBALS));
            text.push_str("\n`megarouter COMMAND --help` tells what one takes.\n");
        }
        found => {
            for command in found {
                text.push_str(&format!("megarouter {}\n  {}\n{}\n", command.usage(), command.help, args(command.args)));
            }
        }
    }
    text
}

fn args(args: &[Arg]) -> String {
    let told = args.iter().filter(|arg| !matches!(arg.kind, Kind::Fixed(_)));
    let line = |arg: &Arg| {
        let name = if arg.is_placed() { arg.name.to_owned() } else { format!("--{}", arg.name) };
        format!("    {name:18} {}\n", arg.help)
    };
    told.map(line).collect()
}
