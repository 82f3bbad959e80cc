package penstock.flume;

import java.io.IOException;
import org.apache.flume.sink.hdfs.HDFSDataStream;
import org.apache.flume.sink.hdfs.HDFSEventSink;
import org.apache.flume.sink.hdfs.HDFSWriter;
import org.apache.flume.sink.hdfs.HDFSWriterFactory;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.io.IOUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Flume's HDFS sink, but a file that it cannot close, since its DataNode was away, is closed by the NameNode.
 *
 * <p>Flume itself tries the broken stream again and again, to no avail, and meanwhile gives the file its final name:
 * the lines in it are flushed and committed, but cannot be read as long as the agent lives and holds the lease.
 */
public final class RecoveringHdfsSink extends HDFSEventSink {
  /** Makes the sink that a conf names. */
  public RecoveringHdfsSink() {
    super(
        new HDFSWriterFactory() {
          @Override
          public HDFSWriter getWriter(String fileType) {
            return new RecoveringStream();
          }
        });
  }

  /** A file of lines. */
  private static final class RecoveringStream extends HDFSDataStream {
    private static final Logger LOG = LoggerFactory.getLogger(RecoveringStream.class);
    private static final String IN_PROGRESS = ".tmp";
    private static final int TAIL_BYTES = 64 << 10;

    private FSDataOutputStream stream;
    private FileSystem fileSystem;
    private Path path;

    @Override
    protected void registerCurrentStream(FSDataOutputStream stream, FileSystem fileSystem, Path path) {
      super.registerCurrentStream(stream, fileSystem, path);
      this.stream = stream;
      this.fileSystem = fileSystem;
      this.path = path;
    }

    /** Throws where the file is still open: Flume then calls this again, every {@code hdfs.retryInterval}. */
    @Override
    public void close() throws IOException {
      try {
        super.close();
      } catch (IOException error) {
        IOUtils.cleanupWithLogger(LOG, stream);
        if (!(fileSystem instanceof DistributedFileSystem hdfs) || !recover(hdfs)) {
          throw error;
        }
      }
    }

    /** Whether the file is closed now. It may have got its final name already. */
    private boolean recover(DistributedFileSystem hdfs) throws IOException {
      Path named = hdfs.exists(path) ? path : new Path(path.toString().replaceFirst("\\" + IN_PROGRESS + "$", ""));
      if (!hdfs.exists(named)) {
        LOG.info("{} is gone: another has finished it", path);
        return true;
      }
      if (!hdfs.recoverLease(named) || !cutUnfinishedLine(hdfs, named)) {
        return false;
      }
      LOG.info("{} is closed by lease recovery", named);
      return true;
    }

    /**
     * Whether the file ends with a whole line. Its last one was not committed, and is written again elsewhere, so that
     * a file without another is deleted.
     */
    private static boolean cutUnfinishedLine(DistributedFileSystem hdfs, Path path) throws IOException {
      long length = hdfs.getFileStatus(path).getLen();
      long whole = length;
      byte[] tail = new byte[TAIL_BYTES];
      try (FSDataInputStream in = hdfs.open(path)) {
        for (long end = length; end > 0; end = whole) {
          int size = (int) Math.min(TAIL_BYTES, end);
          in.readFully(end - size, tail, 0, size);
          int kept = size;
          while (kept > 0 && tail[kept - 1] != '\n') {
            kept--;
          }
          whole = end - size + kept;
          if (kept > 0) {
            break;
          }
        }
      }
      if (whole == 0) {
        return hdfs.delete(path, false);
      }
      return whole == length || hdfs.truncate(path, whole);
    }
  }
}
