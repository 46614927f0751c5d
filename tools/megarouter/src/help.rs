//! The help, made from the table.
use crate::{
    arg::Arg,
    table::{COMMANDS, Command, GLOBALS},
};

const ABOUT: &str = "\
megarouter: the command line of a MegaRouter deployment

Where and who: MEGAROUTER_URL, MEGAROUTER_ADMIN_KEY and MEGAROUTER_OPERATOR_TOKEN (and for doctor
MEGAROUTER_KEY, an inference key), or --state DIR, or .state/run.json as `make run` writes it.
";

/// Help for the commands that begin with these words, or for all.
pub fn help(words: &[String]) -> String {
    let begins = |command: &&Command| words.iter().zip(command.words.split(' ')).all(|(given, word)| given == word);
    let found: Vec<&Command> = COMMANDS.iter().filter(begins).collect();
    if found.is_empty() {
        return "There is no such command. `megarouter help` lists all.\n".to_owned();
    }
    if words.is_empty() {
        let row = |command: &&Command| format!("  {:18} {}\n", command.words, command.help);
        let rows = found.iter().map(row).collect::<Vec<_>>().concat();
        let globals = args(GLOBALS);
        return format!(
            "{ABOUT}\n{rows}\nFlags of every command:\n{globals}\n`megarouter COMMAND --help` tells what one takes.\n"
        );
    }
    let one =
        |command: &&Command| format!("megarouter {}\n  {}\n{}", command.usage(), command.help, args(command.args));
    found.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn args(args: &[Arg]) -> String {
    let line = |arg: &Arg| {
        let name = if arg.is_placed() { arg.name.to_owned() } else { format!("--{}", arg.name) };
        format!("    {name:18} {}\n", arg.help)
    };
    args.iter().map(line).collect::<Vec<_>>().concat()
}
