/** A change that any part may announce and any part may act on, for example that sources must be evaluated again. */
export class ChangeSignal<T = void> {
  readonly #listeners = new Set<(change: T) => void>();

  /** Calls every listener. */
  raise(change: T): void {
    for (const listener of [...this.#listeners]) listener(change);
  }

  /** Calls `listener` at each change, until disposed of. */
  subscribe(listener: (change: T) => void): Disposable {
    // Two subscriptions of one function are two.
    const own = (change: T) => listener(change);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }
}
