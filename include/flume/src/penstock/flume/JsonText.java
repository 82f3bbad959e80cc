package penstock.flume;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;

/**
 * Finds a text in a JSON object by the names that lead to it, such as {@code meta.dt}.
 *
 * <p>A record is read no further than to that text, so that what is broken behind it does no harm.
 */
final class JsonText {
  private static final JsonFactory JSON =
      JsonFactory.builder().disable(JsonFactory.Feature.INTERN_FIELD_NAMES).build();

  private final String[] names;

  /** {@code path} has a name for each object that the text is in, the outermost first, separated by dots. */
  JsonText(String path) {
    names = path.split("\\.");
  }

  /** The text, or null where the record has none there, or cannot be read as JSON up to it. */
  String in(byte[] record) {
    try (JsonParser parser = JSON.createParser(record)) {
      parser.nextToken();
      for (String name : names) {
        if (!goTo(parser, name)) {
          return null;
        }
      }
      return parser.currentToken() == JsonToken.VALUE_STRING ? parser.getText() : null;
    } catch (IOException notJson) {
      return null;
    }
  }

  /** Go to the value behind a name of the object that the parser is at the beginning of, and say whether there is one. */
  private static boolean goTo(JsonParser parser, String name) throws IOException {
    if (parser.currentToken() != JsonToken.START_OBJECT) {
      return false;
    }
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      boolean isWanted = parser.currentName().equals(name);
      parser.nextToken();
      if (isWanted) {
        return true;
      }
      parser.skipChildren();
    }
    return false;
  }
}
