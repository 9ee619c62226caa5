#include "base/string_hash.h"

#include <gtest/gtest.h>

#include <string>

namespace tenon {
namespace {

TEST(StringHash, SipHashOfTheReferenceVector) {
  std::string text;
  for (char i = 0; i < 15; ++i) text += i;
  EXPECT_EQ(sip_hash(text, 0x0706050403020100, 0x0f0e0d0c0b0a0908), 0xa129ca6149be45e5);
}

TEST(StringHash, FarmFingerprintDependsOnEveryByte) {
  for (const size_t n : {1, 3, 4, 7, 8, 16, 17, 32, 33, 64, 65, 128, 129, 200}) {
    std::string text(n, 'a');
    const uint64_t plain = farm_fingerprint(text);
    for (size_t i = 0; i < n; ++i) {
      text[i] = 'b';
      EXPECT_NE(farm_fingerprint(text), plain) << n << " " << i;
      text[i] = 'a';
    }
  }
}

}  // namespace
}  // namespace tenon
