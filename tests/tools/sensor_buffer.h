/* sensor_buffer: where sensor_reader puts what it gets, for whoever looks at its crash. */
#pragma once

#define READER_BUFFER 0x200000000000UL
#define READER_PAGE 4096UL
#define READER_BYTES 512UL /* O_DIRECT's smallest */
