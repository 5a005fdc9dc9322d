/**
 * A value that JSON.stringify() writes as this text, such as the digits of a bigint (JSON.parse source text
 * access, ES2026). Node.js has it since version 22, but TypeScript's library does not declare it yet.
 */
export const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => object };
