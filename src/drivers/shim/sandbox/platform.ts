import { arch } from "node:process";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { SandboxClient } from "./client.ts";

/** What a sandboxer says that runs in its sandbox, in Go's names. Only what it tells is there. */
export interface SandboxPlatform {
  readonly os?: string;
  readonly architecture?: string;
  readonly variant?: string;
}

/** This host's processor in Go's names, which sandboxers use. */
const hostArchitecture = ({ x64: "amd64", ia32: "386" } as Partial<Record<string, string>>)[arch];

/**
 * Asks for the platform of a sandbox. Undefined where the sandboxer does not say, be it that it
 * does not know the call, does not answer in time, or answers with nothing.
 */
export async function askPlatform(
  sandboxer: SandboxClient,
  id: string,
  deps: { readonly log: Logger; readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<SandboxPlatform | undefined> {
  const { log, signal, timeoutMs } = deps;
  try {
    const answer = await sandboxer.platform(id, { signal, timeoutMs });
    const { os = "", architecture = "", variant = "" } = answer ?? {};
    const told = Object.entries({ os, architecture, variant }).filter(([, text]) => text !== "");
    return told.length === 0 ? undefined : Object.fromEntries(told);
  } catch (error) {
    if (signal.aborted) throw error;
    log.debug(`ask for the platform of sandbox "${id}": ${messageOf(error)}`, { sandbox: id });
    return undefined;
  }
}

/**
 * Refuses a sandbox that could run no container of davit's: `failed-precondition`. What is not told
 * is taken for the host's own. Another processor is not refused, as it may be emulated.
 */
export function checkPlatform(
  id: string,
  platform: SandboxPlatform | undefined,
  log: Logger,
): void {
  const { os, architecture } = platform ?? {};
  if (os !== undefined && os.toLowerCase() !== "linux") {
    throw new RuntimeError(
      "failed-precondition",
      `start sandbox "${id}": its sandboxer says that it runs ${JSON.stringify(os)}, and davit makes containers for linux; use another handler`,
    );
  }
  const host = hostArchitecture ?? arch;
  if (architecture === undefined || architecture === host) return;
  log.warn(
    `sandbox "${id}" says that it runs ${JSON.stringify(architecture)}, and images are pulled for ${host}`,
    { sandbox: id },
  );
}
