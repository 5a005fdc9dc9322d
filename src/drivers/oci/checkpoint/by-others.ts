import type { captureBy as CaptureBy } from "./capture.ts";

/** See capture.ts, which is loaded with the first call. For containers of OCI runtimes that other programs run. */
export const captureBy: typeof CaptureBy = async (...given) => {
  const loaded = await import("./capture.ts");
  await loaded.captureBy(...given);
};
