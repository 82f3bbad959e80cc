package penstock.flume;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParseException;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.io.JsonStringEncoder;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.event.EventBuilder;
import org.apache.flume.serialization.EventDeserializer;
import org.apache.flume.serialization.RemoteMarkable;
import org.apache.flume.serialization.ResettableInputStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Makes events of the rows in a file of JSON: a response of an API, several of them, or JSON lines, however laid out.
 *
 * <p>Of each document in the file, the elements of its array {@code data} become one event each; or its own elements,
 * where it is an array; or else the document itself, as it also does where {@code data} is empty or an {@code error}
 * comes before it. An event is one line: the row's own bytes without the space between tokens. What is no JSON becomes
 * an event that holds it as a JSON string, up to the next line that begins with a bracket or brace; the same holds for
 * what is too long for an event, of which the beginning is kept. So every part of a file comes out as an event.
 *
 * <p>Memory is bounded by {@code maxEventBytes}. What is marked durably is the beginning of a document: after a crash,
 * the events of the last document come again.
 */
public final class JsonRowsDeserializer implements EventDeserializer {
  private static final Logger LOG = LoggerFactory.getLogger(JsonRowsDeserializer.class);

  /** Kafka takes a message of 1 MiB, with what it adds. */
  private static final int MAX_EVENT_BYTES = 900_000;

  private static final JsonFactory JSON =
      new JsonFactory().configure(JsonParser.Feature.AUTO_CLOSE_SOURCE, false);

  private enum Place {
    BETWEEN_DOCUMENTS,
    IN_OBJECT,
    IN_ROWS_OF_OBJECT,
    IN_ROWS
  }

  /** Makes the deserializer that a conf names. */
  public static final class Builder implements EventDeserializer.Builder {
    @Override
    public EventDeserializer build(Context context, ResettableInputStream in) {
      try {
        return new JsonRowsDeserializer(in, context.getInteger("maxEventBytes", MAX_EVENT_BYTES));
      } catch (IOException error) {
        throw new IllegalStateException("The file to read cannot be positioned", error);
      }
    }
  }

  private final ResettableInputStream in;
  private final int maxEventBytes;
  private final Window window;

  private JsonParser parser;
  private long parserStart;
  private Place place;
  private boolean hasError;

  /** The file offset where the document of the last event begins, and how many events of it were made. */
  private long document;

  private int eventsOfDocument;

  /** The file offset behind the last event. */
  private long done;

  private long markedDocument;
  private int markedEvents;

  private JsonRowsDeserializer(ResettableInputStream in, int maxEventBytes) throws IOException {
    this.in = in;
    this.maxEventBytes = maxEventBytes;
    this.window = new Window(in, in.tell(), maxEventBytes);
    this.markedDocument = in.tell();
    restart(markedDocument);
  }

  @Override
  public Event readEvent() throws IOException {
    List<Event> events = readEvents(1);
    return events.isEmpty() ? null : events.get(0);
  }

  @Override
  public List<Event> readEvents(int most) throws IOException {
    List<Event> events = new ArrayList<>();
    while (events.size() < most) {
      byte[] body = next();
      if (body == null) {
        break;
      }
      events.add(EventBuilder.withBody(body));
    }
    return events;
  }

  @Override
  public void mark() throws IOException {
    markedDocument = document;
    markedEvents = eventsOfDocument;
    ((RemoteMarkable) in).markPosition(markedDocument);
  }

  @Override
  public void reset() throws IOException {
    int known = markedEvents;
    restart(markedDocument);
    for (int event = 0; event < known; event++) {
      next();
    }
  }

  @Override
  public void close() throws IOException {
    parser.close();
    in.close();
  }

  private void restart(long from) throws IOException {
    window.restart(from);
    parser = JSON.createParser(window);
    parserStart = from;
    place = Place.BETWEEN_DOCUMENTS;
    document = done = from;
    eventsOfDocument = 0;
  }

  /** The next event's body, or null at the end of the file. */
  private byte[] next() throws IOException {
    byte[] body = null;
    while (body == null && !parser.isClosed()) {
      try {
        body = step();
      } catch (JsonProcessingException error) {
        body = unreadable(error);
      }
    }
    if (body != null) {
      eventsOfDocument++;
    }
    return body;
  }

  /** Reads on a little, and returns the event that this completes, or null. */
  private byte[] step() throws IOException {
    JsonToken token = parser.nextToken();
    switch (place) {
      case BETWEEN_DOCUMENTS:
        return token == null ? endOfFile() : begin(token);
      case IN_OBJECT:
        return token == JsonToken.END_OBJECT ? endOfDocument() : member();
      default:
        return token == JsonToken.END_ARRAY ? endOfRows() : value();
    }
  }

  private byte[] begin(JsonToken token) throws IOException {
    document = tokenStart();
    eventsOfDocument = 0;
    hasError = false;
    window.forgetBefore(document);
    if (token == JsonToken.START_OBJECT) {
      place = Place.IN_OBJECT;
      return null;
    }
    if (token == JsonToken.START_ARRAY) {
      place = Place.IN_ROWS;
      return null;
    }
    return value();
  }

  private byte[] member() throws IOException {
    String name = parser.currentName();
    JsonToken token = parser.nextToken();
    if (name.equals("data") && token == JsonToken.START_ARRAY && !hasError) {
      place = Place.IN_ROWS_OF_OBJECT;
      return null;
    }
    if (name.equals("error") && token != JsonToken.VALUE_NULL && token != JsonToken.VALUE_FALSE) {
      hasError = true;
      if (eventsOfDocument > 0) { // its rows are already on their way, so the error follows them
        return concat("{\"error\":", value(), "}");
      }
    }
    parser.skipChildren();
    return null;
  }

  private byte[] endOfRows() {
    if (place == Place.IN_ROWS) {
      return endOfDocument();
    }
    place = Place.IN_OBJECT;
    return null;
  }

  /** A document without rows is an event itself. */
  private byte[] endOfDocument() {
    place = Place.BETWEEN_DOCUMENTS;
    return eventsOfDocument == 0 ? bytes(document) : null;
  }

  /** A file that holds nothing is an event too. */
  private byte[] endOfFile() {
    boolean isBlank = done == 0;
    done = window.end();
    return isBlank ? string(new byte[0]) : null;
  }

  /** The value that begins with the present token. */
  private byte[] value() throws IOException {
    long start = tokenStart();
    window.forgetBefore(start);
    parser.skipChildren();
    parser.finishToken();
    return bytes(start);
  }

  /** What stands from {@code start} up to where the parser is now. */
  private byte[] bytes(long start) {
    done = parserStart + parser.currentLocation().getByteOffset();
    boolean fits = done - start <= maxEventBytes && window.holds(start, done);
    byte[] body = fits ? compact(window.bytes(start, done)) : string(window.bytes(start, start + maxEventBytes));
    window.forgetBefore(done);
    return body;
  }

  private long tokenStart() throws JsonParseException {
    long offset = parser.currentTokenLocation().getByteOffset();
    if (offset < 0) {
      throw new JsonParseException(parser, "the file is not in UTF-8");
    }
    return parserStart + offset;
  }

  /** Passes over what is no JSON, which is an event, and goes on behind it. */
  private byte[] unreadable(JsonProcessingException error) throws IOException {
    long from = done;
    in.seek(from);
    ByteArrayOutputStream text = new ByteArrayOutputStream();
    long at = from;
    boolean isLineStart = false;
    for (int next = in.read(); next >= 0 && !(isLineStart && (next == '{' || next == '[')); next = in.read()) {
      if (text.size() < maxEventBytes) {
        text.write(next);
      }
      isLineStart = next == '\n';
      at++;
    }
    restart(at);
    if (new String(text.toByteArray(), StandardCharsets.UTF_8).isBlank()) {
      return null;
    }
    LOG.warn("{} bytes from offset {} on are not JSON: {}", at - from, from, error.getOriginalMessage());
    document = from;
    return string(text.toByteArray());
  }

  /** The bytes without the space between tokens; they are valid JSON. */
  private static byte[] compact(byte[] json) {
    int size = 0;
    boolean isInString = false;
    for (int at = 0; at < json.length; at++) {
      byte each = json[at];
      boolean isSpace = each == ' ' || each == '\t' || each == '\n' || each == '\r';
      if (isInString || !isSpace) {
        json[size++] = each;
      }
      if (each == '"') {
        isInString = !isInString;
      } else if (each == '\\' && isInString) {
        json[size++] = json[++at];
      }
    }
    return Arrays.copyOf(json, size);
  }

  /** The text as a JSON string, cut so that it fits an event. */
  private byte[] string(byte[] text) {
    String all = new String(text, StandardCharsets.UTF_8).strip();
    byte[] quoted = JsonStringEncoder.getInstance().quoteAsUTF8(all);
    while (quoted.length > maxEventBytes - 2) {
      all = all.substring(0, all.length() / 2);
      quoted = JsonStringEncoder.getInstance().quoteAsUTF8(all);
    }
    return concat("\"", quoted, "\"");
  }

  private static byte[] concat(String before, byte[] middle, String after) {
    ByteArrayOutputStream joined = new ByteArrayOutputStream();
    joined.writeBytes(before.getBytes(StandardCharsets.US_ASCII));
    joined.writeBytes(middle);
    joined.writeBytes(after.getBytes(StandardCharsets.US_ASCII));
    return joined.toByteArray();
  }
}
