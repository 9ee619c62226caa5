// Narrow types: every code is the code of its value, and what lies between and beyond.
#include "tensor/narrow.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tenon {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Narrow, EveryCodeIsThatOfItsValue) {
  for (int t = static_cast<int>(narrow::f8e4m3fn); t <= static_cast<int>(narrow::u2); ++t) {
    const auto dtype = static_cast<DType>(t);
    for (int code = 0; code < 1 << narrow_bits(dtype); ++code) {
      const double value = narrow_value(dtype, static_cast<uint8_t>(code));
      if (std::isnan(value))
        EXPECT_TRUE(std::isnan(narrow_value(dtype, to_narrow(dtype, value))));
      else
        EXPECT_EQ(to_narrow(dtype, value, false), code) << dtype_name(dtype) << " " << value;
    }
  }
}

TEST(Narrow, LargestValues) {
  EXPECT_EQ(narrow_value(narrow::f8e4m3fn, 0x7e), 448);
  EXPECT_EQ(narrow_value(narrow::f8e4m3fnuz, 0x7f), 240);
  EXPECT_EQ(narrow_value(narrow::f8e5m2, 0x7b), 57344);
  EXPECT_EQ(narrow_value(narrow::f8e5m2fnuz, 0x7f), 57344);
  EXPECT_EQ(narrow_value(narrow::f4e2m1, 0x7), 6);
  EXPECT_EQ(narrow_value(narrow::i4, 0xf8), -8);  // the upper half is not looked at
  EXPECT_EQ(narrow_value(narrow::u2, 0xff), 3);
}

TEST(Narrow, RoundsToNearestEven) {
  EXPECT_EQ(narrow_value(narrow::f8e4m3fn, to_narrow(narrow::f8e4m3fn, 17)), 16);
  EXPECT_EQ(narrow_value(narrow::f8e4m3fn, to_narrow(narrow::f8e4m3fn, 19)), 20);
  EXPECT_EQ(narrow_value(narrow::f4e2m1, to_narrow(narrow::f4e2m1, 2.5)), 2);
  EXPECT_EQ(narrow_value(narrow::f4e2m1, to_narrow(narrow::f4e2m1, 3.5)), 4);
  EXPECT_EQ(narrow_value(narrow::i4, to_narrow(narrow::i4, -3.9)), -3);
}

TEST(Narrow, Overflow) {
  for (const double v : {1e6, kInf}) {
    EXPECT_EQ(to_narrow(narrow::f8e4m3fn, v), 0x7e);
    EXPECT_EQ(to_narrow(narrow::f8e4m3fn, -v, false), 0xff);
    EXPECT_EQ(to_narrow(narrow::f8e5m2, v), 0x7b);
    EXPECT_EQ(to_narrow(narrow::f8e5m2, v, false), 0x7c);
    EXPECT_EQ(to_narrow(narrow::f8e4m3fnuz, v, false), 0x80);
    EXPECT_EQ(to_narrow(narrow::f4e2m1, -v, false), 0xf);
    EXPECT_EQ(to_narrow(narrow::i2, v), 1);
  }
  // Half a step beyond the largest goes to it only where it is even.
  EXPECT_EQ(to_narrow(narrow::f8e4m3fn, 464, false), 0x7e);
  EXPECT_EQ(to_narrow(narrow::f8e5m2, 61440, false), 0x7c);
}

TEST(Narrow, ZeroAndNan) {
  EXPECT_EQ(to_narrow(narrow::f8e4m3fn, -1e-9), 0x80);
  EXPECT_EQ(to_narrow(narrow::f8e4m3fnuz, -1e-9), 0);
  EXPECT_EQ(to_narrow(narrow::f4e2m1, kNan), 8);
  EXPECT_EQ(to_narrow(narrow::i4, kNan), 0);
}

TEST(Narrow, PowersOfTwo) {
  EXPECT_EQ(to_narrow(narrow::f8e8m0, 1.1, true, Rounding::up), 128);
  EXPECT_EQ(to_narrow(narrow::f8e8m0, 1.1, true, Rounding::down), 127);
  EXPECT_EQ(to_narrow(narrow::f8e8m0, 1.1, true, Rounding::nearest), 127);
  EXPECT_EQ(to_narrow(narrow::f8e8m0, 3e38, true, Rounding::up), 0xfe);
  EXPECT_EQ(to_narrow(narrow::f8e8m0, 3e38, false, Rounding::up), 0xff);
  EXPECT_EQ(to_narrow(narrow::f8e8m0, kInf), 0xff);
}

}  // namespace
}  // namespace tenon
