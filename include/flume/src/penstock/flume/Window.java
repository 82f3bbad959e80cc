package penstock.flume;

import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import org.apache.flume.serialization.ResettableInputStream;

/**
 * Reads a file for a parser, and remembers the bytes since a place of the caller's choice.
 *
 * <p>At least {@code limit} bytes from that place on are remembered, no matter how far the parser goes, and the last
 * chunk read, in which it is.
 */
final class Window extends InputStream {
  /** More than a parser reads at once. */
  private static final int CHUNK_BYTES = 16 << 10;

  private final ResettableInputStream in;
  private final byte[] kept;
  private long start;
  private int size;
  private byte[] chunk = {};
  private long end;

  /** Reads from the file offset {@code from} on. */
  Window(ResettableInputStream in, long from, int limit) throws IOException {
    this.in = in;
    this.kept = new byte[limit + CHUNK_BYTES];
    restart(from);
  }

  /** Goes to another file offset, and remembers nothing. */
  void restart(long from) throws IOException {
    in.seek(from);
    start = end = from;
    size = 0;
    chunk = new byte[0];
  }

  /** The file offset behind all that was read. */
  long end() {
    return end;
  }

  @Override
  public int read() throws IOException {
    byte[] one = new byte[1];
    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xFF;
  }

  @Override
  public int read(byte[] into, int offset, int length) throws IOException {
    int count = in.read(into, offset, Math.min(length, CHUNK_BYTES));
    if (count > 0) {
      chunk = Arrays.copyOfRange(into, offset, offset + count);
      if (start + size == end) {
        int taken = Math.min(count, kept.length - size);
        System.arraycopy(into, offset, kept, size, taken);
        size += taken;
      }
      end += count;
    }
    return count;
  }

  /** Forgets what is before a file offset, to which all was read. */
  void forgetBefore(long from) {
    boolean isWhole = start + size == end;
    byte[] known = isWhole ? kept : chunk;
    int knownSize = isWhole ? size : chunk.length;
    int rest = (int) Math.min(end - from, knownSize);
    System.arraycopy(known, knownSize - rest, kept, 0, rest);
    size = rest;
    start = end - rest;
  }

  /** Whether every byte between two file offsets is remembered. */
  boolean holds(long from, long to) {
    return start <= from && to <= start + size;
  }

  /** The bytes from a file offset up to another, or as many of them as are remembered. */
  byte[] bytes(long from, long to) {
    long first = Math.max(from, start);
    long last = Math.max(first, Math.min(to, start + size));
    return Arrays.copyOfRange(kept, (int) (first - start), (int) (last - start));
  }
}
