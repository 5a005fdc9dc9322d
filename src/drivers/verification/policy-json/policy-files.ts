import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";
import { systemError } from "../../../base/system-error.ts";
import { fileState, isMissing, readIfPresent } from "./bounded-file.ts";
import { acceptsAnything, keyFilesOf, maxPolicyBytes, parsePolicy, type Policy } from "./policy.ts";

const maxPolicies = 5000;

/** A policy with the file that it is from. */
export interface ReadPolicy {
  readonly path: string;
  readonly policy: Policy;
}

interface Cached {
  readonly state: string;
  readonly outcome: { readonly policy: Policy } | { readonly error: unknown } | undefined;
}

/**
 * The policies of this node: one for all pods, and those of namespaces, `DIRECTORY/NAMESPACE.json`, which
 * replace it. A file is read again when it has changed.
 */
export class PolicyFiles {
  readonly #path: string;
  readonly #directory: string;
  readonly #cache = new Map<string, Cached>();
  /** Whether the last policy of all pods required anything, or could not be used. */
  #isRequired = false;

  /** Empty for none. */
  constructor(options: { readonly path: string; readonly directory: string }) {
    this.#path = options.path;
    this.#directory = options.directory;
  }

  /**
   * The policy for the pods of a namespace; undefined where there is none. `failed-precondition` for a file
   * that cannot be used, and for one that was there before and did not accept everything: a missing policy
   * must not accept images.
   */
  async policyOf(namespace: string): Promise<ReadPolicy | undefined> {
    if (this.#directory !== "" && namespace !== "") {
      const path = join(this.#directory, `${namespaceName(namespace)}.json`);
      const policy = await this.#read(path);
      if (policy !== undefined) return { path, policy };
    }
    if (this.#path === "") return undefined;
    const policy = await this.#read(this.#path);
    if (policy === undefined) {
      if (!this.#isRequired) return undefined;
      const next =
        'restore the file, or set images.verification.policy_json to "" and restart davit';
      throw new RuntimeError("failed-precondition", `read "${this.#path}": it is gone; ${next}`);
    }
    return { path: this.#path, policy };
  }

  /** Texts that change when a policy or a file with its keys does. Not an error for a policy that cannot be used. */
  async state(): Promise<readonly string[]> {
    const paths = await this.#namespaceFiles();
    const states: string[] = [];
    for (const path of this.#path === "" ? paths : [this.#path, ...paths]) {
      const keys = await this.#keyFilesOf(path);
      states.push(path, this.#cache.get(path)?.state ?? "none");
      for (const key of keys) states.push(await fileState(key));
    }
    for (const path of this.#cache.keys()) {
      if (path !== this.#path && !paths.includes(path)) this.#cache.delete(path);
    }
    return states;
  }

  async #keyFilesOf(path: string): Promise<readonly string[]> {
    try {
      const policy = await this.#read(path);
      return policy === undefined ? [] : keyFilesOf(policy);
    } catch {
      return []; // Whoever needs it gets the error.
    }
  }

  async #read(path: string): Promise<Policy | undefined> {
    const state = await fileState(path);
    let cached = this.#cache.get(path);
    if (cached?.state !== state) {
      cached = { state, outcome: await parsed(path) };
      this.#cache.set(path, cached);
    }
    const { outcome } = cached;
    if (outcome === undefined) return undefined;
    if (path === this.#path) {
      this.#isRequired = "error" in outcome || !acceptsAnything(outcome.policy);
    }
    if ("error" in outcome) throw outcome.error;
    return outcome.policy;
  }

  async #namespaceFiles(): Promise<readonly string[]> {
    if (this.#directory === "") return [];
    let names: string[];
    try {
      names = await readdir(this.#directory);
    } catch (cause) {
      if (isMissing(cause)) return [];
      throw systemError(`read "${this.#directory}"`, cause);
    }
    const files = names.filter((name) => name.endsWith(".json")).sort();
    if (files.length <= maxPolicies) return files.map((name) => join(this.#directory, name));
    const why = `it has ${files.length} policies, more than ${maxPolicies}`;
    throw new RuntimeError("failed-precondition", `read "${this.#directory}": ${why}`);
  }
}

async function parsed(path: string): Promise<Cached["outcome"]> {
  try {
    const bytes = await readIfPresent(path, maxPolicyBytes);
    return bytes === undefined ? undefined : { policy: parsePolicy(bytes.toString("utf8"), path) };
  } catch (error) {
    return { error };
  }
}

/** A namespace is a label of DNS (RFC 1123), so that its file is in the directory. */
function namespaceName(namespace: string): string {
  if (/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(namespace)) return namespace;
  const why = "it is not the name of a Kubernetes namespace";
  const text = JSON.stringify(namespace.slice(0, 100));
  throw new RuntimeError("invalid-argument", `find the image policy of namespace ${text}: ${why}`);
}
