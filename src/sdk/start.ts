import type { Davit } from "./api/davit.ts";
import type { StartOptions } from "./api/options.ts";
import { DavitError } from "./errors.ts";

export async function start(_options: StartOptions = {}): Promise<Davit> {
  throw new DavitError("unsupported", "not yet");
}
