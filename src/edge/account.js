// A letter to an account, in one crossing.
export function ask(env, account, letter) { return env.ACCOUNT.getByName(account).call(letter); }
