import type { MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import * as images from "../../engine/image/index.ts";
import {
  LayerProgress_State as State,
  type PullRequest,
  type PullResponseSchema,
} from "../../gen/davit/v1/pull_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";
import { authOf } from "./explain.ts";

const states = {
  waiting: State.WAITING,
  fetching: State.FETCHING,
  unpacking: State.UNPACKING,
  done: State.DONE,
} as const;

/** Pull: pulls an image, and tells how far it is. */
export async function* pull(
  context: Pick<CriContext, "images">,
  request: PullRequest,
  call: Pick<RpcCall, "signal">,
): AsyncIterable<MessageInitShape<typeof PullResponseSchema>> {
  if (request.image === "") {
    throw new RuntimeError("invalid-argument", "pull image: the image is missing");
  }
  const asked = { name: request.image, auth: authOf(request.credentials) };
  for await (const step of images.pullSteps(context.images, asked, call.signal)) {
    if (step.kind === "image") {
      const { id, name, fetchedBytes } = step.image;
      yield { part: { case: "image", value: { id, name, fetchedBytes: BigInt(fetchedBytes) } } };
      continue;
    }
    const layers = step.layers.map(({ digest, sizeBytes, fetchedBytes, state }) => ({
      digest,
      sizeBytes: BigInt(sizeBytes),
      fetchedBytes: BigInt(fetchedBytes),
      state: states[state],
    }));
    yield { part: { case: "progress", value: { stage: step.stage, layers } } };
  }
}
