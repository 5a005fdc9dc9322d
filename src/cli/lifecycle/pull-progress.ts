import type { JsonValue } from "@bufbuild/protobuf";
import { setTimeout as sleep } from "node:timers/promises";
import { imageNames } from "../objects/find.ts";
import type { Server } from "../server/session.ts";
import { member } from "../output/cri-message.ts";

/** The progress of a layer. */
export interface LayerProgress {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly fetchedBytes: number;
  readonly state: "waiting" | "fetching" | "unpacking" | "done";
}

const pollMs = 200;

/**
 * The progress of pulls on the server. The CRI does not report it; davit does in its verbose Status.
 * Nothing is known about the pulls of other servers.
 */
export class PullProgress implements Disposable {
  readonly #end = new AbortController();
  #pulls: ReadonlyMap<string, readonly LayerProgress[]> = new Map();

  /** Starts polling the server, if it is davit. */
  constructor(server: Server) {
    this.#poll(server).catch(() => undefined); // the pull itself reports the error
  }

  /** The layers of an image that is being pulled; undefined if they are not known. */
  layersOf(image: string): readonly LayerProgress[] | undefined {
    for (const name of imageNames(image)) {
      const layers = this.#pulls.get(name);
      if (layers !== undefined) return layers;
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    this.#end.abort();
  }

  async #poll({ client, limit }: Server): Promise<void> {
    const { signal } = this.#end;
    const { runtimeName } = await client.runtime.version({}, { ...limit(), signal });
    if (runtimeName !== "davit") return;
    while (!signal.aborted) {
      const { info } = await client.runtime.status({ verbose: true }, { ...limit(), signal });
      this.#pulls = readPulls(info["pulls"] ?? "[]");
      await sleep(pollMs, undefined, { signal });
    }
  }
}

/** Parses the pulls in davit's verbose Status and ignores malformed entries. */
export function readPulls(text: string): ReadonlyMap<string, readonly LayerProgress[]> {
  const pulls = new Map<string, readonly LayerProgress[]>();
  for (const pull of asList(parseJson(text))) {
    const image = member(pull, "image");
    if (typeof image !== "string") continue;
    pulls.set(image, asList(member(pull, "layers")).flatMap(readLayer));
  }
  return pulls;
}

function readLayer(value: JsonValue): readonly LayerProgress[] {
  const digest = member(value, "digest");
  const sizeBytes = member(value, "sizeBytes");
  const fetchedBytes = member(value, "fetchedBytes");
  const state = (["waiting", "fetching", "unpacking", "done"] as const).find(
    (word) => word === member(value, "state"),
  );
  if (typeof digest !== "string" || typeof sizeBytes !== "number") return [];
  if (typeof fetchedBytes !== "number" || state === undefined) return [];
  return [{ digest, sizeBytes, fetchedBytes, state }];
}

function parseJson(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return undefined;
  }
}

function asList(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? value : [];
}
