// A client of the two services of containerd that have its images, over its socket.
import type { ImageSchema } from "../gen/containerd/services/images/v1/images_pb.ts";
import type { MessageShape } from "@bufbuild/protobuf";
import { isKind } from "../base/errors.ts";
import { Content } from "../gen/containerd/services/content/v1/content_pb.ts";
import { Images } from "../gen/containerd/services/images/v1/images_pb.ts";
import { GrpcClient } from "../wire/grpc/client.ts";
import { type MethodsOf, parseEndpoint, serviceClient, type ServiceClient } from "./cri-client.ts";

/** An image of containerd: one name, with the descriptor of its manifest or index. */
export type ContainerdImage = MessageShape<typeof ImageSchema>;

/** A node may have thousands of images. */
const maxMessageBytes = 64 * 1024 * 1024;
const quickMs = 30_000;

/** The images and blobs of one namespace of containerd. It connects at the first call. */
export class ContainerdClient implements Disposable {
  readonly #grpc: GrpcClient;
  readonly #images: ServiceClient<MethodsOf<typeof Images>>;
  readonly #content: ServiceClient<MethodsOf<typeof Content>>;
  readonly #options: {
    readonly metadata: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
  };

  /** @throws RuntimeError `invalid-argument` for an address that is not an absolute path. */
  constructor(address: string, namespace: string, signal: AbortSignal) {
    this.#grpc = new GrpcClient({ path: parseEndpoint(address), maxMessageBytes });
    this.#images = serviceClient(this.#grpc, Images);
    this.#content = serviceClient(this.#grpc, Content);
    this.#options = { metadata: { "containerd-namespace": namespace }, signal };
  }

  async images(): Promise<readonly ContainerdImage[]> {
    const { images } = await this.#images.list({}, { ...this.#options, timeoutMs: quickMs });
    return images;
  }

  /** The size of a blob; undefined if containerd has no such blob. */
  async sizeOf(digest: string): Promise<number | undefined> {
    try {
      const { info } = await this.#content.info(
        { digest },
        { ...this.#options, timeoutMs: quickMs },
      );
      return info === undefined ? undefined : Number(info.size);
    } catch (error) {
      if (isKind(error, "not-found")) return undefined;
      throw error;
    }
  }

  /** The bytes of a blob, in order. */
  async *read(digest: string): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const { data } of this.#content.read({ digest }, this.#options)) yield data;
  }

  [Symbol.dispose](): void {
    this.#grpc.close();
  }
}
