package penstock.flume;

import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeParseException;
import java.util.List;

/**
 * Finds the time of the event that a JSON record is about, without parsing all of it.
 *
 * <p>The time is that of the first of the given fields which the record has: a whole number of milliseconds since the
 * epoch; a text in ISO 8601 with its UTC offset; or a year of four digits, as a number or a string, which stands for its
 * 1 January, UTC.
 */
final class EventTime {
  private static final long FIRST = LocalDate.of(1, 1, 1).atStartOfDay(ZoneOffset.UTC).toInstant().toEpochMilli();
  private static final long LAST = LocalDate.of(10_000, 1, 1).atStartOfDay(ZoneOffset.UTC).toInstant().toEpochMilli() - 1;

  private static final int MOST_DIGITS = 15;
  private static final int DIGITS_OF_A_YEAR = 4;

  private record Field(byte[] quotedName, boolean isYear) {}

  private final List<Field> millis;
  private final List<JsonText> texts;
  private final List<Field> years;

  /**
   * Each list holds names of fields, which are looked for in this order. Those of texts may be inside of other objects:
   * {@code meta.dt}.
   */
  EventTime(List<String> millisFields, List<String> isoFields, List<String> yearFields) {
    millis = millisFields.stream().map(name -> new Field(quoted(name), false)).toList();
    texts = isoFields.stream().map(JsonText::new).toList();
    years = yearFields.stream().map(name -> new Field(quoted(name), true)).toList();
  }

  /** The time in ms since the epoch, or {@code otherwise} where the record has none from year 1 to year 9999. */
  long of(byte[] record, long otherwise) {
    Long time = number(record, millis);
    if (time == null) {
      time = text(record);
    }
    if (time == null) {
      time = number(record, years);
    }
    return time == null ? otherwise : time;
  }

  private static Long number(byte[] record, List<Field> fields) {
    for (Field field : fields) {
      for (int at = find(record, field.quotedName, 0); at >= 0; at = find(record, field.quotedName, at)) {
        Long time = value(record, at, field.isYear);
        if (time != null && isPossible(time)) {
          return time;
        }
      }
    }
    return null;
  }

  private Long text(byte[] record) {
    for (JsonText each : texts) {
      String text = each.in(record);
      Long time = text == null ? null : parse(text);
      if (time != null && isPossible(time)) {
        return time;
      }
    }
    return null;
  }

  private static Long parse(String text) {
    try {
      return OffsetDateTime.parse(text).toInstant().toEpochMilli();
    } catch (DateTimeParseException noTime) {
      return null;
    }
  }

  private static boolean isPossible(long time) {
    return FIRST <= time && time <= LAST;
  }

  /** The time that stands behind a name, or null where that is no key, or has no such value. */
  private static Long value(byte[] record, int behindName, boolean isYear) {
    int at = skipSpace(record, behindName);
    if (at == record.length || record[at] != ':') {
      return null;
    }
    at = skipSpace(record, at + 1);
    boolean isQuoted = at < record.length && record[at] == '"';
    boolean isNegative = at < record.length && record[at] == '-';
    if (isQuoted || isNegative) {
      at++;
    }
    int first = at;
    long number = 0;
    while (at < record.length && at - first <= MOST_DIGITS && record[at] >= '0' && record[at] <= '9') {
      number = 10 * number + record[at++] - '0';
    }
    int digits = at - first;
    if (digits == 0 || digits > MOST_DIGITS || !ends(record, at, isQuoted)) {
      return null;
    }
    if (isYear) {
      return isNegative || digits != DIGITS_OF_A_YEAR || number == 0
          ? null
          : LocalDate.of((int) number, 1, 1).atStartOfDay(ZoneOffset.UTC).toInstant().toEpochMilli();
    }
    return isNegative ? -number : number;
  }

  private static boolean ends(byte[] record, int at, boolean isQuoted) {
    if (isQuoted) {
      return at < record.length && record[at] == '"';
    }
    int next = skipSpace(record, at);
    return next < record.length && (record[next] == ',' || record[next] == '}');
  }

  private static int skipSpace(byte[] record, int from) {
    int at = from;
    while (at < record.length && (record[at] == ' ' || record[at] == '\t' || record[at] == '\n' || record[at] == '\r')) {
      at++;
    }
    return at;
  }

  /** The index behind the next occurrence of {@code wanted}, or -1. */
  private static int find(byte[] record, byte[] wanted, int from) {
    for (int at = from; at <= record.length - wanted.length; at++) {
      int same = 0;
      while (same < wanted.length && record[at + same] == wanted[same]) {
        same++;
      }
      if (same == wanted.length) {
        return at + same;
      }
    }
    return -1;
  }

  private static byte[] quoted(String name) {
    return ('"' + name + '"').getBytes(StandardCharsets.UTF_8);
  }
}
