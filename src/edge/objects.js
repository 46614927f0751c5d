// A letter to an object, in one crossing.
export function askAccount(env, account, letter) { return env.ACCOUNT.getByName(account).call(letter); }
export function tellHealth(env, region, report) { return env.HEALTH.getByName(region).call(report); }
