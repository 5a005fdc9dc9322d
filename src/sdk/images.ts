import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { packTar } from "../client/files/tar-pack.ts";
import type { Image as CriImage } from "../gen/runtime/v1/api_pb.ts";
import type { Image } from "./api/images.ts";
import type { LoadOptions, RootFs } from "./api/options.ts";
import type { Connection } from "./connection.ts";
import { DavitError } from "./errors.ts";
import { explain, invalid } from "./explain.ts";
import { pieces } from "./pieces.ts";

const chunkBytes = 256 * 1024;
const removeMs = 60_000;

/** An image of the server. */
class ServerImage implements Image {
  readonly id: string;
  readonly names: readonly string[];
  readonly digests: readonly string[];
  readonly sizeBytes: number;
  readonly #connection: Connection;

  constructor(connection: Connection, { id, repoTags, repoDigests, size }: CriImage) {
    this.#connection = connection;
    this.id = id;
    this.names = repoTags;
    this.digests = repoDigests;
    this.sizeBytes = Number(size);
  }

  async tag(name: string): Promise<void> {
    const call = this.#connection.client.davit.tag(
      { source: this.id, target: name },
      this.#connection.quick(),
    );
    await this.#connection.davitOnly(`tag image "${this.#name}" as "${name}"`, call);
  }

  async *save(
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const images = this.names.length > 0 ? [...this.names] : [this.id];
    try {
      for await (const { chunk } of this.#connection.client.davit.save({ images }, options))
        yield chunk;
    } catch (error) {
      throw this.#connection.explain(`save image "${this.#name}"`, error, options.signal);
    }
  }

  async remove(): Promise<void> {
    const { client } = this.#connection;
    const request = { image: { image: this.id } };
    const call = client.image.removeImage(request, this.#connection.quick(undefined, removeMs));
    await this.#connection.doing(`remove image "${this.#name}"`, call);
  }

  get #name(): string {
    return this.names[0] ?? this.id;
  }
}

/** The images of a server. */
export async function listImages(connection: Connection): Promise<readonly Image[]> {
  const call = connection.client.image.listImages({}, connection.quick());
  const { images } = await connection.doing("list images", call);
  return images.map((image) => new ServerImage(connection, image));
}

/** An image by its name or id; undefined if the server does not have it. */
export async function findImage(
  connection: Connection,
  name: string,
  signal?: AbortSignal,
): Promise<Image | undefined> {
  const call = connection.client.image.imageStatus(
    { image: { image: name } },
    connection.quick(signal),
  );
  const { image } = await connection.doing(`get the status of image "${name}"`, call, signal);
  return image === undefined ? undefined : new ServerImage(connection, image);
}

/** Loads the images of an archive, or makes one of a root file system. */
export async function load(
  connection: Connection,
  source: string | AsyncIterable<Uint8Array> | RootFs,
  { tag, signal }: LoadOptions = {},
): Promise<readonly Image[]> {
  const isRoot = typeof source === "object" && "rootfs" in source;
  const input = isRoot ? source.rootfs : source;
  const name = isRoot ? source.tag : (tag ?? "");
  if (isRoot && name === "") throw invalid("load a root file system: option tag is empty");
  const what =
    typeof input === "string" ? `load "${input}"` : `load ${isRoot ? `"${name}"` : "an archive"}`;
  connection.check(what);
  const chunks = await open(what, input);
  const options = { name, ...(isRoot && { rootFs: configOf(source) }) };
  async function* requests() {
    yield { part: { case: "options" as const, value: options } };
    for await (const chunk of chunks) {
      for (const value of pieces(chunk)) yield { part: { case: "chunk" as const, value } };
    }
    yield { part: { case: "end" as const, value: {} } };
  }
  const loaded: string[] = [];
  const read = async (): Promise<void> => {
    const call = connection.client.davit.load(requests(), signal === undefined ? {} : { signal });
    for await (const { id } of call) loaded.push(id);
  };
  await connection.davitOnly(what, read(), signal);
  return await Promise.all(loaded.map((id) => loadedImage(connection, what, id)));
}

async function loadedImage(connection: Connection, what: string, id: string): Promise<Image> {
  const found = await findImage(connection, id);
  if (found !== undefined) return found;
  throw new DavitError(
    "internal",
    `${what}: the server does not have image "${id}" after the load`,
  );
}

/** A directory becomes an archive of its files. */
async function open(
  what: string,
  input: string | AsyncIterable<Uint8Array>,
): Promise<AsyncIterable<Uint8Array>> {
  if (typeof input !== "string") return input;
  try {
    const stats = await stat(input);
    if (stats.isDirectory()) return packTar(input, ".", () => undefined);
    return createReadStream(input, { highWaterMark: chunkBytes });
  } catch (error) {
    throw explain(what, error);
  }
}

function configOf({ config = {} }: RootFs) {
  const { entrypoint = [], cmd = [], env = {}, workdir = "", user = "" } = config;
  return {
    entrypoint: [...entrypoint],
    cmd: [...cmd],
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    workingDir: workdir,
    user,
  };
}
