/**
 * A value that JSON.stringify() writes as this text, such as the digits of a bigint (JSON.parse source text
 * access, ES2026). Node.js has it since version 22, TypeScript's library not yet.
 */
export const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => object };
