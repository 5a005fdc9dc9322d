// Decides by containers-policy.json(5). Start with verifier.ts; policy.ts parses, signed-by.ts and sigstore-signed.ts check
// the requirements.
export { acceptsAnything, keyFilesOf, parsePolicy, programsOf } from "./policy.ts";
export { KeptSignatures } from "./kept-signatures.ts";
export { PolicyJsonVerifier } from "./verifier.ts";
