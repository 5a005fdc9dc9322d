// Decrypts the keys of encrypted layers (ocicrypt) with private keys of this node: implements LayerDecryption of
// core/image. Loaded when the first encrypted layer is met. Start with node-keys.ts.
export { type DecryptionSettings, NodeKeys } from "./node-keys.ts";
export { type KeyDirectory, readKeyDirectory } from "./key-directory.ts";
