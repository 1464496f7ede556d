// SPDX-License-Identifier: Apache-2.0
#include "broker/call_trace.h"

#include <gtest/gtest.h>

namespace airstore::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(TraceSettings, AreReadForgivingly) {
  for (const char* on : {"1", "true", "YES", " y ", "On"}) {
    EXPECT_TRUE(ParseTraceSettings(on, "", "").on) << on;
  }
  for (const char* off : {"", "0", "no", "2", "enable"}) {
    EXPECT_FALSE(ParseTraceSettings(off, "", "").on) << off;
  }
  EXPECT_EQ(ParseTraceSettings("1", "500ms", "").interval, milliseconds(500));
  EXPECT_EQ(ParseTraceSettings("1", "1m30s", "").interval, seconds(90));
  EXPECT_EQ(ParseTraceSettings("1", "1.5s", "").interval, milliseconds(1500));
  for (const char* bad : {"", "0s", "-1s", "2", "s", "2 s", "2x"}) {
    EXPECT_EQ(ParseTraceSettings("1", bad, "").interval, seconds(2)) << bad;
  }
  EXPECT_EQ(ParseTraceSettings("1", "", "").slow, milliseconds(50));
  EXPECT_EQ(ParseTraceSettings("1", "", "7").slow, milliseconds(7));
  EXPECT_EQ(ParseTraceSettings("1", "", "-3").slow, milliseconds(0));
  EXPECT_EQ(ParseTraceSettings("1", "", "x").slow, milliseconds(50));
}

TEST(CallTrace, NotesWhatIsSlowWhileSomebodyLooks) {
  constexpr int64_t kMs = 1'000'000;
  CallTrace trace{TraceSettings{}};
  EXPECT_FALSE(trace.on());
  EXPECT_FALSE(trace.Wants(1000 * kMs));
  trace.Watch(0, 10 * kMs);
  EXPECT_TRUE(trace.Wants(10 * kMs));
  EXPECT_FALSE(trace.Wants(10 * kMs - 1));
  for (int i = 0; i < 2000; ++i) trace.Add({});
  const TraceAnswer all = trace.After(0);
  EXPECT_EQ(all.calls.size(), 1024u);
  EXPECT_EQ(all.next, 2000u);
  const TraceAnswer late = trace.After(100);
  EXPECT_EQ(late.missed, 2000u - 1024 - 100);
  EXPECT_TRUE(trace.After(all.next).calls.empty());
  trace.Expire(11'000 * kMs);
  EXPECT_FALSE(trace.on());
  EXPECT_TRUE(trace.After(0).calls.empty());
}

TEST(CallTrace, SettingsHoldWithoutAWatcher) {
  CallTrace trace{ParseTraceSettings("1", "", "20")};
  trace.Expire(1);
  EXPECT_TRUE(trace.Wants(20'000'000));
  EXPECT_FALSE(trace.Wants(19'000'000));
  trace.Watch(1, 1'000'000);
  EXPECT_TRUE(trace.Wants(1'000'000));
  trace.Expire(20'000'000'000);
  EXPECT_FALSE(trace.Wants(1'000'000));
  EXPECT_TRUE(trace.Wants(20'000'000));
}

}  // namespace
}  // namespace airstore::broker
