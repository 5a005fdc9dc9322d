import { readFileSync } from "node:fs";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";

interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** The credentials of the option --creds; undefined without it. */
export function readCredentials(call: Call): Credentials | undefined {
  const given = call.options.text("creds");
  if (given === undefined) return undefined;
  // 0: the descriptor of stdin.
  const text = (given === "-" ? readFileSync(0, "utf8") : given).trim();
  const at = text.indexOf(":");
  if (at > 0) return { username: text.slice(0, at), password: text.slice(at + 1) };
  throw new CommandFailure(
    exitCode.usage,
    "read the credentials: not of the form USER:PASSWORD; use --creds USER:PASSWORD, or --creds - with stdin",
  );
}
