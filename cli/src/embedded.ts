export interface EmbeddedOptions {
  readonly address: string;
  readonly storeUrl: string;
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly threads?: number;
}
export interface EmbeddedStack {
  readonly address: string;
  close(): Promise<void>;
}
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedStack> {
  throw new Error(`not yet: ${options.address}`);
}
