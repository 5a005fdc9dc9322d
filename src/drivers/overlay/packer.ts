import { randomUUID } from "node:crypto";
import { type Digest, hexOf, isDigest } from "../../base/digest.ts";
import { type ErrorKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { LayerPacker, PackedImage } from "../../core/snapshot/index.ts";
import {
  type Child,
  findOwnProgram,
  keepText,
  type OwnProgram,
  SIGKILL,
  startOwnProgram,
} from "../../linux/process/index.ts";
import { type FromBelow } from "./from-below.ts";
import { readFacts } from "./layer-facts.ts";
import type { OverlayLayers } from "./overlay-layers.ts";
import type { StateLayout } from "./state-layout.ts";

/** What the packer needs. */
interface PackerDeps {
  readonly paths: StateLayout;
  readonly layers: Pick<OverlayLayers, "use" | "release">;
  /** The program: its last arguments are pack or digest, and the directory of the layers. */
  readonly command?: OwnProgram | undefined;
}

/** As in unpack/pack-main.ts. */
interface PlannedLayer {
  readonly directory: string;
  readonly rootOpaque: boolean;
  readonly fromBelow: FromBelow | undefined;
}

interface Plan {
  readonly layers: readonly PlannedLayer[];
  readonly images: readonly {
    readonly names: readonly string[];
    readonly configJson: string;
    readonly layers: readonly number[];
  }[];
}

const complaintBytes = 64 * 1024;

/** The program that reads layers. `failed-precondition` where it is missing. */
export function packerProgram(): OwnProgram {
  const files = { source: "unpack/archive-program.ts", bundle: "davit-archive.cjs" };
  return findOwnProgram("the program that writes archives", files);
}

/** Packs layers by a process of its own, which sees only the directory of the layers. */
export class OverlayPacker implements LayerPacker {
  readonly #deps: PackerDeps;

  constructor(deps: PackerDeps) {
    this.#deps = deps;
  }

  async *pack(
    images: readonly PackedImage[],
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const diffIds = [...new Set(images.flatMap(({ layers }) => layers))];
    await using _mounted = await this.#use(diffIds);
    const plan = {
      layers: await this.#planned(diffIds),
      images: images.map((image) => ({
        ...image,
        layers: image.layers.map((diffId) => diffIds.indexOf(diffId)),
      })),
    };
    yield* this.#run("pack", plan, signal);
  }

  async *archive(layer: Digest, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    await using _mounted = await this.#use([layer]);
    yield* this.#run("plain", { layers: await this.#planned([layer]), images: [] }, signal);
  }

  async digests(layers: readonly Digest[], signal: AbortSignal): Promise<readonly Digest[]> {
    await using _mounted = await this.#use(layers);
    const plan = { layers: await this.#planned(layers), images: [] };
    const parts: Uint8Array[] = [];
    for await (const part of this.#run("digest", plan, signal)) parts.push(part);
    const lines = Buffer.concat(parts).toString("utf8").split("\n").slice(0, -1);
    const digests = lines.flatMap((line) => {
      const { digest } = JSON.parse(line) as { readonly digest: string };
      return isDigest(digest) ? [digest] : [];
    });
    if (digests.length === layers.length) return digests;
    throw new RuntimeError("internal", "read layers: the packer did not report all of them");
  }

  /** Keeps layers that are images mounted. */
  async #use(layers: readonly Digest[]): Promise<AsyncDisposable> {
    const user = `pack-${randomUUID()}`;
    const used = { [Symbol.asyncDispose]: () => this.#deps.layers.release(user) };
    try {
      await this.#deps.layers.use(user, layers);
      return used;
    } catch (cause) {
      await used[Symbol.asyncDispose]();
      throw cause;
    }
  }

  async #planned(layers: readonly Digest[]): Promise<readonly PlannedLayer[]> {
    return await Promise.all(
      layers.map(async (diffId) => {
        try {
          const { rootOpaque, fromBelow } = await readFacts(this.#deps.paths.layer(diffId));
          return { directory: `/${hexOf(diffId)}/fs`, rootOpaque, fromBelow };
        } catch (cause) {
          const text = `read layer "${diffId}": ${messageOf(cause)}; pull or load the image again`;
          throw new RuntimeError("not-found", text, { cause });
        }
      }),
    );
  }

  async *#run(
    mode: "pack" | "plain" | "digest",
    plan: Plan,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    signal.throwIfAborted();
    const program = this.#deps.command ?? packerProgram();
    const child = await startOwnProgram(program, [mode], {
      confinement: "packer",
      root: this.#deps.paths.layers,
    });
    const kill = (): void => child.kill(SIGKILL);
    signal.addEventListener("abort", kill, { once: true });
    const complaint = packerComplaint(child);
    try {
      child.stdin?.end(JSON.stringify(plan));
      for await (const chunk of child.stdout ?? []) yield chunk as Uint8Array;
      signal.throwIfAborted();
      await checkPacked(child, await complaint);
    } finally {
      signal.removeEventListener("abort", kill);
      kill();
      await child.exited;
      child.stdin?.destroy();
      child.stdout?.destroy();
    }
  }
}

const kinds: readonly ErrorKind[] = [
  "invalid-argument",
  "data-loss",
  "not-found",
  "resource-exhausted",
  "failed-precondition",
  "internal",
];

/** What the program writes about its failure. */
export function packerComplaint(child: Child): Promise<string> {
  return keepText(child.stderr, complaintBytes);
}

/** Waits for the end of the program, and throws the failure that it reported. */
export async function checkPacked(child: Child, complaint: string): Promise<void> {
  const { code, signal } = await child.exited;
  if (code === 0) return;
  let said: { readonly error?: unknown; readonly kind?: unknown } = {};
  try {
    said = JSON.parse(complaint) as typeof said;
  } catch {
    // It ended before it could report.
  }
  if (typeof said.error === "string") {
    throw new RuntimeError(kinds.find((kind) => kind === said.kind) ?? "internal", said.error);
  }
  const how = signal === null ? `code ${String(code)}` : `signal ${signal}`;
  const words = complaint.trim().slice(0, 500);
  throw new RuntimeError("internal", `pack layers: the packer ended with ${how}: ${words}`);
}
