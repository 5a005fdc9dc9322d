// Verifiers of images: each implements ImageVerifier of core/image. Loaded only where one is configured.
// Start with open.ts.
export { openVerifiers, type VerificationSettings, type VerifierDeps } from "./open.ts";
