// Verifiers of images: each implements ImageVerifier of core/image. Loaded only where one is configured.
// Start with open.ts.
export { KeptFiles } from "./kept-files.ts";
export { openVerifiers } from "./open.ts";
export { needsOfPolicy } from "./policy-needs.ts";
