import type { JsonValue } from "@bufbuild/protobuf";
import { setTimeout as sleep } from "node:timers/promises";
import { imageNames } from "../objects/find.ts";
import type { Server } from "../server/session.ts";
import { member } from "../output/cri-message.ts";

/** How far one layer of a pull is. */
export interface LayerProgress {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly fetchedBytes: number;
  readonly state: "waiting" | "fetching" | "unpacking" | "done";
}

const pollMs = 200;

/**
 * How far the server's pulls are. The CRI has no words for it; davit tells it in its verbose Status,
 * and of another server nothing is known.
 */
export class PullWatch implements Disposable {
  readonly #end = new AbortController();
  #pulls: ReadonlyMap<string, readonly LayerProgress[]> = new Map();

  /** Begins to ask the server, if it is davit. */
  constructor(server: Server) {
    this.#poll(server).catch(() => undefined); // the pulls themselves tell what is wrong
  }

  /** The layers of an image that is being pulled; undefined when nothing is known of it. */
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

/** Reads what davit's verbose Status says of pulls; nothing of what is not of that form. */
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
