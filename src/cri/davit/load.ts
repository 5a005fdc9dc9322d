import type { MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import * as images from "../../engine/image/index.ts";
import type { LoadOptions, LoadRequest, LoadResponseSchema } from "../../gen/davit/v1/images_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Load: loads the images of an archive that the client sends, and answers with each one. */
export async function* load(
  context: CriContext,
  requests: AsyncIterable<LoadRequest>,
  call: RpcCall,
): AsyncIterable<MessageInitShape<typeof LoadResponseSchema>> {
  const parts = requests[Symbol.asyncIterator]();
  const first = await parts.next();
  const options = first.done === true ? undefined : first.value.part;
  const isOptions = options?.case === "options";
  const chunks = chunksOf(isOptions || first.done === true ? undefined : first.value, parts);
  const wanted = isOptions ? loadOptions(options.value) : {};
  for await (const { id, names } of images.loadImages(
    context.images,
    chunks,
    wanted,
    call.signal,
  )) {
    yield { id, names: [...names] };
  }
}

function loadOptions({ name, rootFs }: LoadOptions): images.LoadOptions {
  return {
    name: name === "" ? undefined : name,
    rootFs:
      rootFs === undefined
        ? undefined
        : {
            entrypoint: rootFs.entrypoint,
            cmd: rootFs.cmd,
            env: rootFs.env,
            workingDir: rootFs.workingDir,
            user: rootFs.user,
          },
  };
}

/** The bytes of the archive. Fails without the last message: a client that leaves ends its messages, too. */
async function* chunksOf(
  first: LoadRequest | undefined,
  parts: AsyncIterator<LoadRequest>,
): AsyncGenerator<Uint8Array> {
  let request = first;
  for (;;) {
    if (request?.part.case === "chunk") yield request.part.value;
    if (request?.part.case === "end") return;
    if (request?.part.case === "options") {
      throw new RuntimeError(
        "invalid-argument",
        "load images: the options are not the first message",
      );
    }
    const next = await parts.next();
    if (next.done === true) break;
    request = next.value;
  }
  throw new RuntimeError(
    "aborted",
    "load images: the client ended the archive without its last message, LoadEnd",
  );
}
