// For containers whose OCI runtime another program runs. The code is loaded with the first call.
import type { captureBy as CaptureBy } from "./capture.ts";
import type { endCriu as EndCriu } from "./end-criu.ts";
import type { prepareRestore as PrepareRestore } from "./restore.ts";

/** See capture.ts. */
export const captureBy: typeof CaptureBy = async (...given) => {
  const loaded = await import("./capture.ts");
  await loaded.captureBy(...given);
};

/** See restore.ts. */
export const prepareRestore: typeof PrepareRestore = async (...given) => {
  const loaded = await import("./restore.ts");
  return await loaded.prepareRestore(...given);
};

/** See end-criu.ts. */
export const endCriu: typeof EndCriu = async (...given) => {
  const loaded = await import("./end-criu.ts");
  await loaded.endCriu(...given);
};
