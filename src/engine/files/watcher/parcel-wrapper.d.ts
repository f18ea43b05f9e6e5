/** The part of `@parcel/watcher/wrapper` that is used; the package types only its main entry. */
declare module '@parcel/watcher/wrapper' {
  import type { AsyncSubscription, SubscribeCallback } from '@parcel/watcher';

  export function createWrapper(binding: unknown): {
    subscribe(
      directory: string,
      callback: SubscribeCallback,
      options: { backend: 'inotify'; ignore: string[] },
    ): Promise<AsyncSubscription>;
  };
}
