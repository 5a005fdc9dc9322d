import {
  LayerProgress_State,
  type PullProgress as ProgressMessage,
} from "../gen/davit/v1/pull_pb.ts";
import type { Image, LayerProgress, Pull, PullProgress } from "./api/images.ts";
import type { PullOptions } from "./api/options.ts";
import type { Connection } from "./connection.ts";
import { DavitError } from "./errors.ts";
import { isMissingCall } from "./explain.ts";
import { findImage } from "./images.ts";

const stateNames: ReadonlyMap<number, LayerProgress["state"]> = new Map([
  [LayerProgress_State.WAITING, "waiting"],
  [LayerProgress_State.FETCHING, "fetching"],
  [LayerProgress_State.UNPACKING, "unpacking"],
  [LayerProgress_State.DONE, "done"],
]);

/** A pull that starts at once. Its progress is kept only as its latest state: a slow reader misses states, not the end. */
export class RunningPull implements Pull {
  readonly #result: Promise<Image>;
  #latest: PullProgress | undefined;
  #isOver = false;
  #news = Promise.withResolvers<undefined>();

  constructor(connection: Connection, image: string, options: PullOptions = {}) {
    this.#result = this.#run(connection, image, options).finally(() => {
      this.#isOver = true;
      this.#news.resolve(undefined);
    });
    // Whoever awaits or loops gets the failure.
    this.#result.catch(() => undefined);
  }

  // biome-ignore lint/suspicious/noThenProperty: a pull is awaited
  then<Done = Image, Failed = never>(
    onDone?: ((image: Image) => Done | PromiseLike<Done>) | null,
    onFailed?: ((reason: unknown) => Failed | PromiseLike<Failed>) | null,
  ): Promise<Done | Failed> {
    return this.#result.then(onDone, onFailed);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PullProgress, void, undefined> {
    let shown: PullProgress | undefined;
    for (;;) {
      const news = this.#news.promise;
      if (this.#latest !== undefined && this.#latest !== shown) {
        shown = this.#latest;
        yield shown;
      } else if (this.#isOver) {
        await this.#result;
        return;
      } else {
        await news;
      }
    }
  }

  async #run(connection: Connection, image: string, options: PullOptions): Promise<Image> {
    const { credentials, always = false, signal } = options;
    const what = `pull image "${image}"`;
    connection.check(what);
    if (!always) {
      const present = await findImage(connection, image, signal);
      if (present !== undefined) return present;
    }
    const call = signal === undefined ? {} : { signal };
    const request = credentials === undefined ? { image } : { image, credentials };
    let id: string | undefined;
    try {
      for await (const { part } of connection.client.pulls.pull(request, call)) {
        if (part.case === "progress") this.#report(toProgress(part.value));
        if (part.case === "image") id = part.value.id;
      }
    } catch (error) {
      if (!isMissingCall(error)) throw connection.explain(what, error, signal);
      id = await pullByCri(connection, image, options);
    }
    const found = id === undefined ? undefined : await findImage(connection, id, signal);
    if (found !== undefined) return found;
    throw new DavitError("internal", `${what}: the server does not have the image after the pull`);
  }

  #report(progress: PullProgress): void {
    this.#latest = progress;
    this.#news.resolve(undefined);
    this.#news = Promise.withResolvers();
  }
}

/** On other servers than davit, without progress. */
async function pullByCri(
  connection: Connection,
  image: string,
  { credentials, signal }: PullOptions,
): Promise<string> {
  const auth = credentials === undefined ? {} : { auth: credentials };
  const call = connection.client.image.pullImage(
    { image: { image }, ...auth },
    signal === undefined ? {} : { signal },
  );
  return (await connection.doing(`pull image "${image}"`, call, signal)).imageRef;
}

function toProgress({ stage, layers }: ProgressMessage): PullProgress {
  return {
    stage,
    layers: layers.map(({ digest, sizeBytes, fetchedBytes, state }) => ({
      digest,
      sizeBytes: Number(sizeBytes),
      fetchedBytes: Number(fetchedBytes),
      state: stateNames.get(state) ?? "waiting",
    })),
  };
}
