// The image verbs: pull, load, save, check, list and remove. They use only the interfaces of core. Start reading with pull.ts.
export { type CheckEvent, checkImages, type CheckRequest } from "./check.ts";
export { Collected } from "./collected.ts";
export type { ImageContext } from "./context.ts";
export { type ExplainedLayer, explainPull, type PullExplanation } from "./explain.ts";
export { type ImageFsUsage, imageFsUsage, imageStatus, listImages } from "./list.ts";
export { type LoadedImage, type LoadOptions, loadImages } from "./load.ts";
export { attributeLayers } from "./present-layers.ts";
export { type PulledImage, pullImage, type PullRequest } from "./pull.ts";
export { type PullStep, pullSteps } from "./pull-steps.ts";
export { PullProgress } from "./progress.ts";
export { Pulls } from "./pulls.ts";
export { forgetIncompleteImages, removeImage, removeUnusedLayers } from "./remove.ts";
export { saveImages } from "./save.ts";
export { sweepLayers, sweepUnfinishedLayers } from "./sweep.ts";
export { tagImage } from "./tag.ts";
export type { ImageVerification } from "./verification.ts";
export { type Verification, verifyImage } from "./verify.ts";
