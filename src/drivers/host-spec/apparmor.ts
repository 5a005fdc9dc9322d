import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { RuntimeError, wrap } from "../../base/errors.ts";
import { SingleFlight } from "../../base/single-flight.ts";
import type { ContainerConfig } from "../../gen/runtime/v1/api_pb.ts";
import { errnoCode } from "../../base/system-error.ts";
import { findProgram, run } from "../../linux/process/index.ts";
import { readFiles } from "../../linux/file/index.ts";
import { apparmorChoice, defaultApparmor, defaultApparmorName } from "../../oci-spec/index.ts";

/** The interfaces of AppArmor. */
interface ApparmorHost {
  /** The names of the profiles that the kernel has; undefined where it has no AppArmor. */
  loaded(): Promise<ReadonlySet<string> | undefined>;
  /** Loads the text of a profile, replacing one of the same name. False where no tool can. */
  load(text: string): Promise<boolean>;
}

/** The AppArmor profiles of containers. */
export class Apparmor {
  readonly #host: ApparmorHost;
  readonly #loads = new SingleFlight();
  #isOurs = false;
  #cannot = false;

  constructor(host: ApparmorHost = thisHost) {
    this.#host = host;
  }

  /**
   * The name of the profile that a container of this config runs under; undefined for none, which
   * is also the result for the default profile on a node that cannot load it. `failed-precondition`
   * for a profile that is asked for by name and not loaded.
   */
  async profileOf(config: Pick<ContainerConfig, "linux">): Promise<string | undefined> {
    const choice = apparmorChoice(config.linux?.securityContext);
    if (choice.name === "unconfined") return undefined;
    if (choice.name === "runtime-default" && this.#cannot) return undefined;
    const loaded = await this.#host.loaded();
    if (choice.name === "localhost") {
      if (loaded?.has(choice.ref) === true) return choice.ref;
      const why =
        loaded === undefined
          ? "this node has no AppArmor; set appArmorProfile.type to Unconfined, or use another node"
          : "it is not loaded on this node; load it with apparmor_parser";
      throw new RuntimeError(
        "failed-precondition",
        `apply AppArmor profile "${choice.ref}": ${why}`,
      );
    }
    // One of an earlier davit is replaced once.
    if (loaded !== undefined && !(this.#isOurs && loaded.has(defaultApparmorName))) {
      await this.#loads.do(defaultApparmorName, () => this.#load());
    }
    if (loaded === undefined) this.#cannot = true;
    return this.#cannot ? undefined : defaultApparmorName;
  }

  async #load(): Promise<void> {
    if (await this.#host.load(defaultApparmor())) this.#isOurs = true;
    else this.#cannot = true;
  }
}

/**
 * Why containers cannot have the default profile although the kernel has AppArmor on; undefined where
 * they can, or where it is off.
 */
export function apparmorObstacle(
  read: (path: string) => string = (path) => readFileSync(path, "utf8"),
  find: (program: string) => string | undefined = findParser,
): string | undefined {
  let enabled = "";
  try {
    enabled = read("/sys/module/apparmor/parameters/enabled").trim();
  } catch {
    // The kernel was built without it, or hides it: nothing can be loaded.
  }
  if (enabled !== "Y" || find(parser) !== undefined) return undefined;
  return "AppArmor is on in the kernel, but apparmor_parser is missing, so davit cannot load its default profile: containers run without it; install apparmor and restart davit";
}

const parser = "apparmor_parser";
const parserPath = "/usr/sbin:/sbin:/usr/bin:/bin";

function findParser(program: string): string | undefined {
  return findProgram(program, parserPath);
}

const profiles = "/sys/kernel/security/apparmor/profiles";
const loadMs = 10_000;

const thisHost: ApparmorHost = {
  loaded: async () => {
    const [text] = await readFiles([profiles]);
    if (typeof text === "string") return profileNames(Buffer.from(text, "latin1").toString());
    try {
      // It does not exist, or is longer than one read.
      return profileNames(await readFile(profiles, "utf8"));
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return undefined;
      throw wrap(`read AppArmor profiles "${profiles}"`, error);
    }
  },
  load: async (text) => {
    const env = { PATH: parserPath };
    const file = findParser(parser);
    if (file === undefined) return false;
    const args = ["--replace", "--skip-cache"];
    const { code, stderr } = await run({ file, args, env, input: text, timeoutMs: loadMs });
    if (code === 0) return true;
    throw new RuntimeError(
      "internal",
      `load AppArmor profile "${defaultApparmorName}": ${file} ended with code ${String(code)}: ${stderr.toString().trim()}`,
    );
  },
};

/** The names in the kernel's list: a line a profile, `name (mode)`. */
export function profileNames(text: string): ReadonlySet<string> {
  const lines = text.split("\n").filter((line) => line !== "");
  return new Set(lines.map((line) => line.replace(/ \([a-z_]+\)$/, "")));
}
