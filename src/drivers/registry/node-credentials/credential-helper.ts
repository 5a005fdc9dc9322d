import type { RegistryAuth } from "../../../core/image/index.ts";
import { type Credentials, readAuth } from "../credentials.ts";
import { asRecord } from "../failure.ts";
import type { Answer } from "./answers.ts";
import type { Helper } from "./docker-config.ts";
import { askProgram, ProgramFailure } from "./program.ts";

/** The protocol has no life of an answer. Milliseconds. */
const lifeMs = 60_000;

// What docker-credential-helpers print for "there are none", with exit code 1.
const nothing = /^(credentials not found in native keychain|no credentials (server URL|username))/;

/**
 * Asks a program of Docker for credentials (docker/docker-credential-helpers, command `get`). Undefined
 * where it has none. Rejects with a {@link ProgramFailure}.
 */
export async function askHelper(
  { name, server }: Helper,
  env: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<Answer<Credentials | undefined>> {
  const file = `docker-credential-${name}`;
  const program = { file, args: ["get"], env, input: server, timeoutMs };
  const printed = await askProgram(program, (stdout) => nothing.test(stdout));
  if (printed === undefined) return { value: undefined, lifeMs };
  const raw = asRecord(printed);
  const [username, secret] = [raw?.["Username"], raw?.["Secret"]];
  if (typeof username !== "string" || typeof secret !== "string") {
    throw new ProgramFailure(`run "${file}": it printed no Username and Secret`);
  }
  if (secret === "") return { value: undefined, lifeMs };
  const isToken = username === "<token>";
  const auth: RegistryAuth = {
    username: isToken ? "" : username,
    password: isToken ? "" : secret,
    identityToken: isToken ? secret : "",
    registryToken: "",
    auth: "",
    serverAddress: "",
  };
  const value = readAuth(auth, `"${file}" for ${JSON.stringify(server)}`);
  return { value: value.kind === "none" ? undefined : value, lifeMs };
}
